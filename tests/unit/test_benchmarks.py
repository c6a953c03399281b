"""The benchmarks' own code: alternating runs, summaries, and a committed page that matches what was recorded."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import common, report, seeds, serving
from deepdigits.core.loading import check, read_yaml
from deepdigits.release.params import Params
from deepdigits.tasks.catalogue import TASKS
from tests.conftest import ROOT


def test_the_committed_results_match_what_was_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert Path("benchmarks/RESULTS.md").read_text() == report.render()


def test_the_results_say_if_no_training_of_the_current_params_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(report, "recipe_of", lambda _: "another recipe")
    assert "No training with the current parameters is recorded yet." in report.render()


def test_workloads_alternate_after_one_warm_up_round() -> None:
    calls: list[str] = []
    medians = common.alternate({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2)
    assert calls == ["a", "b"] * 3
    assert set(medians) == {"a", "b"}


def test_other_seeds_or_a_tenth_of_the_epochs_change_every_training_and_nothing_else() -> None:
    shipped = read_yaml(ROOT / "params.yaml")
    for changed in (seeds.with_seeds(shipped, 2), seeds.shortened(shipped)):
        check(changed, Params, "changed")
        differing = {section for section in shipped if changed[section] != shipped[section]}
        assert differing == {f"train_{task}" for task in TASKS}
    moved = seeds.with_seeds(shipped, 2)
    assert seeds.recipe_of(moved) == seeds.recipe_of(shipped) != seeds.recipe_of(seeds.shortened(shipped))
    assert moved["train_cnn"]["fit"]["seed"] == shipped["train_cnn"]["fit"]["seed"] + 200
    assert moved["train_gan"]["seed"] == shipped["train_gan"]["seed"] + 200
    short = seeds.shortened(shipped)["train_cnn"]["fit"]
    whole = shipped["train_cnn"]["fit"]
    assert short["epochs"] * short["steps_per_epoch"] == whole["epochs"] * whole["steps_per_epoch"] // 10


def test_a_floor_is_shown_with_its_margin_and_a_bad_figure_below_it_is_marked() -> None:
    def record(kind: str, accuracy: float, capability: str = "AVX2") -> dict[str, Any]:
        return {"kind": kind, "figures": {"cnn.accuracy": accuracy}, "environment": {"capability": capability}}

    trainings = [record(seeds.SOUND, 0.9990), record(seeds.SOUND, 0.9980, "AVX512"), record(seeds.SHORT, 0.5)]
    rows = report.floor_rows(trainings)
    row = next(row for row in rows if row["measure"] == "CNN, accuracy")
    assert row["margin"] == pytest.approx(0.9980 - row["limit"])
    assert row["bad"] == [(0.5, True), None]
    assert (row["mean"], row["deviation"]) == (pytest.approx(0.9985), pytest.approx(0.001 / 2**0.5))
    assert row["processors"] == {"AVX2": 0.9990, "AVX512": 0.9980}


def test_a_row_is_printed_and_recorded_with_the_machine_and_the_date(
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
def test_the_load_tools_report_is_parsed_and_every_failure_is_counted(codes: str, errors: str, failures: int) -> None:
    load = serving.parse(HEY.format(rate=278.5398, codes=codes, errors=errors))
    assert (load.rate, load.p99_ms, load.failures) == (278.5398, pytest.approx(20.1), failures)


def test_a_training_of_only_some_models_does_not_count_as_a_whole_one() -> None:
    whole = {f"{name}.{measure}": 0.9 for name, task in TASKS.items() for measure, _ in task.rules.values()}
    gan = {key: value for key, value in whole.items() if key.startswith("gan.")}
    assert seeds.is_complete({"kind": seeds.SOUND, "figures": whole})
    assert not seeds.is_complete({"kind": seeds.SOUND, "figures": gan})
    assert not seeds.is_complete({"kind": seeds.SHORT, "figures": gan})
    assert seeds.is_complete({"kind": seeds.COLLAPSED, "figures": gan})
