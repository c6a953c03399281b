"""Promotion against a real store: the finished smoke pipeline, and a second, worse version of its CNN."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner, Result

from deepdigits.cli import commands
from deepdigits.config.loading import read_params, read_yaml
from deepdigits.config.params import Params
from deepdigits.errors import UserError
from deepdigits.evaluation import robustness
from deepdigits.evaluation.corruptions import CORRUPTIONS
from deepdigits.files import read_json
from deepdigits.promotion import ledger
from deepdigits.promotion.audit import audit
from deepdigits.promotion.promote import Outcome, promote, rollback
from deepdigits.promotion.transaction import alias_version
from deepdigits.tracking import open_store
from tests.conftest import forget_stores
from tests.pipeline.conftest import Workspace

WORSE = "0.4"


@pytest.fixture(scope="module")
def two_versions(smoke: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Version 1 of the CNN is what the pipeline made, version 2 the same with noise on its weights."""
    root = tmp_path_factory.mktemp("registry") / "clone"
    shutil.copytree(smoke.root, root, symlinks=True)
    workspace = Workspace(root, {**smoke.environment, "PYTHONPATH": "src:."})
    done = workspace.python("-m", "tests.pipeline.changed_model", "cnn", WORSE)
    assert done.returncode == 0, done.stderr
    return workspace


@pytest.fixture
def here(two_versions: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    shutil.copytree(two_versions.root, tmp_path / "here", symlinks=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    # One corruption instead of fifteen: what is tested here is what becomes of the scores.
    monkeypatch.setattr(robustness, "CORRUPTIONS", {"shear": CORRUPTIONS["shear"]})
    forget_stores()
    yield tmp_path / "here"
    forget_stores()


@pytest.fixture
def cnn(here: Path) -> str:
    return f"{read_json(Path('data/processed/manifest.json'))['name']}-cnn"


def decide(reference: str, **options: bool) -> Outcome:
    return promote(reference, read_params(Params), **options)


def command(*arguments: str) -> Result:
    return CliRunner().invoke(commands, arguments)


def aliases(name: str) -> dict[str, int | None]:
    client = open_store()
    return {alias: alias_version(client, name, alias) for alias in ("champion", "previous")}


def faults() -> list[str]:
    return audit(open_store())[1]


def entries() -> list[dict[str, Any]]:
    return ledger.read(open_store())[0]


def test_the_first_version_is_promoted_by_its_floors_and_leaves_evidence(cnn: str) -> None:
    done = command("promote", f"{cnn}/1", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["action"] == "promoted"
    assert aliases(cnn) == {"champion": 1, "previous": None}

    client = open_store()
    (entry,) = entries()
    assert (entry["action"], entry["version"], entry["champion_before"], entry["before"]) == (
        "promoted",
        1,
        None,
        "0" * 64,
    )
    run = client.get_run(entry["run_id"])
    assert run.info.status == "FINISHED"
    assert client.get_experiment(run.info.experiment_id).name == "registry"
    record = Path(client.download_artifacts(run.info.run_id, "decision.md")).read_text()
    assert "| test.accuracy |" in record
    version = client.get_model_version(cnn, "1")
    assert version.description.startswith("## Decisions\n\n- **promoted** on ")
    assert version.description.endswith(Path("models/cnn/model_card.md").read_text())
    assert (version.tags["promotion"], version.tags["promotion.ledger"]) == ("promoted", "1")
    assert faults() == []


def test_a_worse_candidate_is_refused_with_reasons_and_exit_code_3(cnn: str) -> None:
    decide(f"{cnn}/1")
    done = command("promote", cnn, "--json")
    assert done.exit_code == 3
    decision = json.loads(done.stdout)
    table = decision["numbers"]["contingency"]
    assert table["only_champion_right"] > table["only_candidate_right"]
    assert sum(table.values()) == read_json(Path("data/processed/manifest.json"))["splits"]["test"]["count"]
    assert any("Not better" in reason or "Recall of digit" in reason for reason in decision["reasons"])
    assert aliases(cnn) == {"champion": 1, "previous": None}
    assert entries()[-1]["action"] == "refused"
    client = open_store()
    assert "**refused**" in client.get_model_version(cnn, "2").description
    shown = client.get_run(entries()[-1]["run_id"]).data.metrics
    assert shown["mcnemar_p"] == pytest.approx(decision["numbers"]["mcnemar_p"])
    assert shown["contingency.both_wrong"] == table["both_wrong"]
    assert "test.accuracy" in shown
    assert faults() == []


def test_a_better_candidate_takes_the_place_and_rollback_gives_it_back(cnn: str) -> None:
    decide(f"{cnn}/2")
    outcome = decide(f"{cnn}/1")
    assert (outcome.action, aliases(cnn)) == ("promoted", {"champion": 1, "previous": 2})
    assert "p = " in outcome.reasons[0]

    done = command("rollback", cnn)
    assert done.exit_code == 0, done.output
    assert aliases(cnn) == {"champion": 2, "previous": 1}
    assert command("rollback", cnn).exit_code == 0
    assert aliases(cnn) == {"champion": 1, "previous": 2}
    assert [entry["action"] for entry in entries()] == ["promoted", "promoted", "rolled back", "rolled back"]
    assert faults() == []
    listed = command("history", cnn)
    assert "version 1 promoted, champion 2 -> 1" in listed.stdout
    assert "Rolled back from version 1 to version 2." in listed.stdout


def test_the_same_bytes_are_nothing_to_promote(cnn: str) -> None:
    decide(f"{cnn}/1")
    outcome = decide(f"{cnn}/1")
    assert outcome.action == "unchanged"
    assert "Nothing to promote" in outcome.reasons[0]
    assert len(entries()) == 1


def test_a_dry_run_decides_and_changes_nothing(cnn: str) -> None:
    assert decide(f"{cnn}/1", dry_run=True).action == "promoted"
    assert aliases(cnn) == {"champion": None, "previous": None}
    assert entries() == []
    assert open_store().get_experiment_by_name("registry") is None


def test_a_champion_of_other_data_is_compared_only_when_asked(cnn: str) -> None:
    decide(f"{cnn}/2")
    open_store().set_model_version_tag(cnn, "2", "dataset.sha256", "f" * 64)
    refused = decide(f"{cnn}/1")
    assert refused.action == "refused"
    assert "--allow-other-data" in refused.reasons[0]
    assert decide(f"{cnn}/1", allow_other_data=True).action == "promoted"


def test_a_candidate_of_other_data_than_here_is_an_error(cnn: str) -> None:
    open_store().set_model_version_tag(cnn, "2", "dataset.sha256", "f" * 64)
    done = command("promote", cnn)
    assert done.exit_code == 2
    assert "was tested on data ffffffffffff" in " ".join(done.output.replace("│", " ").split())


def test_a_registered_file_that_was_changed_is_never_scored(cnn: str) -> None:
    for path in Path("mlruns/artifacts").rglob("model.onnx"):
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(UserError, match="not the one that was registered"):
        decide(cnn)
    assert entries() == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["promote", "nothing"], "The registry has no model 'nothing'. It has: "),
        (["promote", "{cnn}/9"], "has no version 9. There are 2 versions"),
        (["promote", "{cnn}@best"], "no version with the alias 'best'"),
        (["promote", "a b"], "is no model. Write NAME"),
        (["promote", "{cnn}", "--from", "sqlite:///x"], "--from and --to belong together"),
        (["rollback", "{cnn}"], "no version with the alias 'champion'"),
        (["history", "nothing"], "The registry has no model"),
        (["verify", "{cnn}@best"], "no version with the alias"),
    ],
)
def test_wrong_usage_is_one_message_and_exit_code_2(cnn: str, arguments: list[str], said: str) -> None:
    done = command(*(argument.format(cnn=cnn) for argument in arguments))
    assert done.exit_code == 2
    assert said in " ".join(done.output.replace("│", " ").split())
    assert "Traceback" not in done.output


def test_rollback_without_a_champion_before_says_so(cnn: str) -> None:
    decide(f"{cnn}/1")
    with pytest.raises(UserError, match="nothing to go back to"):
        rollback(cnn)


def test_an_alias_moved_by_hand_is_found_and_stays_on_record(cnn: str) -> None:
    decide(f"{cnn}/1")
    open_store().set_registered_model_alias(cnn, "champion", "2")
    assert faults() == [
        f"{cnn}: the alias 'champion' stands on version 2, by the ledger it is version 1: it was moved by hand."
    ]
    assert command("audit").exit_code == 3
    assert decide(f"{cnn}/1").action == "promoted"
    assert any("moved by hand in between" in fault for fault in faults())


def ledger_file() -> Path:
    (path,) = Path("mlruns/artifacts").rglob("promotions.jsonl")
    return path


def test_an_edited_entry_is_found_even_if_the_chain_is_sealed_anew(cnn: str) -> None:
    decide(f"{cnn}/1")
    decide(cnn)
    kept = ledger_file().read_text()
    edited = kept.replace('"action": "refused"', '"action": "promoted"')
    ledger_file().write_text(edited)
    assert any("Entry 2 of the ledger was edited" in fault for fault in faults())
    with pytest.raises(UserError, match="was edited"):
        decide(cnn)

    rows = [json.loads(line) for line in edited.splitlines()]
    rows[1]["sha256"] = ledger.digest(rows[1])
    ledger_file().write_text(ledger.serialise(rows))
    assert any("Entry 2 of the ledger is not the one that its decision's run" in fault for fault in faults())

    ledger_file().write_text(kept.splitlines(keepends=True)[0])
    assert any("is missing from the ledger" in fault for fault in faults())
    ledger_file().write_text(kept)
    assert faults() == []


def test_an_edited_record_is_found(cnn: str) -> None:
    decide(f"{cnn}/1")
    (record,) = Path("mlruns/artifacts").rglob("decision.md")
    record.write_text(record.read_text().replace("promoted", "Promoted"))
    assert any("The record of entry 1" in fault and "was edited" in fault for fault in faults())


def test_a_ledger_cut_off_in_writing_is_put_back_by_the_next_decision(cnn: str) -> None:
    decide(f"{cnn}/1")
    decide(cnn)
    whole = ledger_file().read_text()
    ledger_file().write_text(whole[:-40])
    decide(cnn)
    assert ledger_file().read_text().startswith(whole)
    assert len(entries()) == 3
    assert faults() == []


WRITES = (
    "create_experiment", "create_run", "log_batch", "log_artifacts", "log_artifact", "set_tag",
    "set_registered_model_alias", "delete_registered_model_alias", "update_model_version", "set_model_version_tag",
    "set_terminated",
)  # fmt: skip


def dies_at(step: int, act: Callable[[], object]) -> bool:
    """Run `act` in a child process that ends at once, as by kill -9, before its write number `step`; whether it did."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            forget_stores()
            done = 0

            def counted(name: str) -> Callable[..., Any]:
                original = getattr(MlflowClient, name)

                def write(*args: Any, **kwargs: Any) -> Any:
                    nonlocal done
                    done += 1
                    if done == step:
                        os._exit(9)
                    return original(*args, **kwargs)

                return write

            for name in WRITES:
                setattr(MlflowClient, name, counted(name))
            act()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) in (0, 9)
    return os.waitstatus_to_exitcode(status) == 9


def test_a_rollback_killed_at_any_step_is_completed_or_undone_by_the_next(cnn: str) -> None:
    decide(f"{cnn}/2")
    decide(f"{cnn}/1")
    forget_stores()
    shutil.copytree("mlruns", "before")
    step = 0
    while True:
        step += 1
        assert step < 40
        shutil.rmtree("mlruns")
        shutil.copytree("before", "mlruns")
        forget_stores()
        killed = dies_at(step, lambda: rollback(cnn))
        if not killed:
            break
        outcome = rollback(cnn)
        assert (outcome.action, aliases(cnn)) == ("rolled back", {"champion": 2, "previous": 1}), step
        assert [entry["action"] for entry in entries()] == ["promoted", "promoted", "rolled back"], step
        assert faults() == [], step
    assert step > 8


def test_another_process_at_work_is_left_alone(cnn: str) -> None:
    client = open_store()
    decide(f"{cnn}/1")
    run = client.get_run(entries()[-1]["run_id"])
    client.update_run(run.info.run_id, status="RUNNING")
    client.set_tag(run.info.run_id, "process", f"{os.uname().nodename}:{os.getppid()}")
    with pytest.raises(UserError, match=f"Process {os.getppid()} is at work"):
        decide(cnn)


@pytest.mark.parametrize("model", ["rnn", "gan"])
def test_the_other_models_are_promoted_too(model: str, here: Path) -> None:
    name = f"{read_json(Path('data/processed/manifest.json'))['name']}-{model}"
    outcome = decide(name)
    assert outcome.action == "promoted", outcome.reasons
    if model == "gan":
        assert "are by the CNN" in outcome.record


def test_a_worse_generator_is_refused_by_its_intervals(here: Path, two_versions: Workspace) -> None:
    name = f"{read_json(Path('data/processed/manifest.json'))['name']}-gan"
    decide(name)
    forget_stores()
    done = Workspace(here, two_versions.environment).python("-m", "tests.pipeline.changed_model", "gan", "0.2")
    assert done.returncode == 0, done.stderr
    outcome = decide(name)
    assert outcome.action == "refused"
    assert "FID changes by" in outcome.reasons[-1]
    assert outcome.numbers["fid"]["candidate"] > outcome.numbers["fid"]["champion"]


def test_verify_names_what_holds_and_what_does_not(cnn: str) -> None:
    done = command("verify", f"{cnn}/1", "--json")
    checks = {check["question"]: check for check in json.loads(done.stdout)}
    assert all(check["passed"] for check in checks.values()), checks
    assert done.exit_code == 0
    assert "of this commit" in checks["the file is the one that a commit's dvc.lock names"]["detail"]
    worse = command("verify", f"{cnn}/2", "--json")
    failed = [check["question"] for check in json.loads(worse.stdout) if not check["passed"]]
    assert worse.exit_code == 3
    assert "the file is the one that a commit's dvc.lock names" in failed


def test_verify_rebuilds_a_version_from_its_commit(smoke: Workspace) -> None:
    """The whole pipeline again, at another path: every output has the same bytes."""
    name = f"{read_json(smoke.root / 'data/processed/manifest.json')['name']}-cnn"
    done = smoke.run("deepdigits", "verify", name, "--rebuild", "--json")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    rebuilt = json.loads(done.stdout[done.stdout.index("[\n") :])[-1]
    outputs = [out for stage in read_yaml(smoke.root / "dvc.lock")["stages"].values() for out in stage["outs"]]
    assert f"and all {len(outputs)} outputs in dvc.lock are the same" in rebuilt["detail"]
    assert smoke.run("git", "worktree", "list").stdout.count("\n") == 1
