"""The benchmarks' own parts: turns, summaries, and that the committed page is what was recorded."""

import json
from pathlib import Path

import pytest

from benchmarks import common, report, seeds, serving
from tests.conftest import ROOT


def test_the_committed_results_are_what_was_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert Path("benchmarks/RESULTS.md").read_text() == report.render()


def test_works_are_run_in_turns_after_one_round_to_warm_up() -> None:
    calls: list[str] = []
    taken = common.alternate({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2)
    assert calls == ["a", "b"] * 3
    assert set(taken) == {"a", "b"}


def test_a_summary_names_mean_spread_and_count() -> None:
    assert seeds.summarise([1.0, 2.0, 6.0]) == {
        "mean": 3.0,
        "deviation": pytest.approx(7**0.5),
        "least": 1.0,
        "most": 6.0,
        "seeds": 3,
    }


def test_a_row_is_printed_and_kept_with_machine_and_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    common.record("input", [common.Row("speed", "3", "1", "3x", ">= 4x", met=False)])
    assert "MISSED" in capsys.readouterr().out
    kept = json.loads((tmp_path / "input.json").read_text())
    assert kept["rows"][0]["figure"] == "3x"
    assert {"processor", "threads", "versions", "date"} <= set(kept["environment"])


HEY = """
Summary:
  Requests/sec:	{rate}

Latency distribution:
  50% in 0.0039 secs
  99% in 0.0201 secs

Status code distribution:
{codes}
{errors}"""


@pytest.mark.parametrize(
    ("codes", "errors", "failures"),
    [
        ("  [200]	279 responses", "", 0),
        ("  [200]	279 responses\n  [503]	4 responses", "", 4),
        ("", 'Error distribution:\n  [50072]	Get "http://127.0.0.1:1/": connection refused', 50073),
        ("  [200]	9 responses", 'Error distribution:\n  [2]	Post "http://127.0.0.1:1/": EOF', 2),
    ],
)
def test_a_report_of_the_load_tool_is_read_and_no_failure_is_lost(codes: str, errors: str, failures: int) -> None:
    load = serving.parse(HEY.format(rate=278.5398, codes=codes, errors=errors))
    assert (load.rate, load.p99_ms, load.failures) == (278.5398, pytest.approx(20.1), failures)
