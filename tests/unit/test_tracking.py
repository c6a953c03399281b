"""Runs in a real SQLite store in a temporary folder."""

import itertools
import os
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from deepdigits.core.errors import Terminated, UserError
from deepdigits.ops.lineage import Lineage, git_state, stage_fingerprint
from deepdigits.ops.processes import process_identity
from deepdigits.ops.runs import find_run
from deepdigits.ops.tracking import DatasetIdentity, flatten, open_store, stage_run
from tests.conftest import ROOT, forget_stores

ENVIRONMENT = {"requirements_sha256": "e" * 64, "torch": "2.13.0", "cpu": "AVX2", "device": "cpu"}
LINEAGE = Lineage("train_cnn", "f" * 64, "smoke", "c" * 40, True, ENVIRONMENT)
DATASET = DatasetIdentity("digits", "d" * 64, "Digits", {"train": 1})


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    forget_stores()
    return tmp_path


def runs(status: str) -> list[str]:
    client = open_store()
    experiment = client.get_experiment_by_name("digits")
    return [
        run.info.run_name for run in client.search_runs([experiment.experiment_id], f"attributes.status = '{status}'")
    ]


def test_a_run_carries_its_lineage_dataset_and_curve(own_store: Path) -> None:
    (own_store / "note.txt").write_text("hello")
    with stage_run(LINEAGE, DATASET, "train_cnn", {"model.sha256": "m"}, "training") as log:
        log.params({"fit": {"epochs": 2}})
        for epoch in (1, 2):
            log.metrics({"val/accuracy": epoch / 2}, step=epoch)
        log.file(own_store / "note.txt", "notes")
    client = open_store()
    experiment = client.get_experiment_by_name("digits").experiment_id
    run = find_run(client, experiment, {"stage": "train_cnn", "model.sha256": "m"})
    assert run.info.status == "FINISHED"
    assert run.data.params == {"fit.epochs": "2"}
    assert {"git.commit", "git.dirty", "stage.fingerprint", "environment.sha256", "dataset.sha256"} < set(run.data.tags)
    assert [point.value for point in client.get_metric_history(run.info.run_id, "val/accuracy")] == [0.5, 1.0]
    assert run.inputs.dataset_inputs[0].dataset.name == "digits"
    assert not Path(run.info.artifact_uri).is_absolute()
    assert (own_store / run.info.artifact_uri / "notes" / "note.txt").read_text() == "hello"
    assert find_run(client, experiment, {"stage": "train_cnn", "model.sha256": "other"}) is None


@pytest.mark.parametrize(
    ("error", "status"), [(UserError("bad data"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (Terminated(), "KILLED")]
)
def test_a_run_that_ends_badly_is_marked_as_such(error: BaseException, status: str) -> None:
    with pytest.raises(type(error)), stage_run(LINEAGE, DATASET, "train_cnn", {}, "training"):
        raise error
    assert runs(status) == ["train_cnn"]
    assert runs("FINISHED") == []


def test_the_run_of_a_killed_process_is_closed_by_the_next(own_store: Path) -> None:
    script = (
        "import os, signal\n"
        "from tests.unit.test_tracking import *\n"
        "with stage_run(LINEAGE, DATASET, 'killed', {}, 'training'):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    done = subprocess.run([sys.executable, "-c", script], cwd=own_store, env=environment, check=False)
    assert done.returncode == -9
    assert runs("RUNNING") == ["killed"]
    with stage_run(LINEAGE, DATASET, "next", {}, "training"):
        assert runs("RUNNING") == ["next"]
    assert runs("KILLED") == ["killed"]


def test_a_run_of_another_container_is_not_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The container shares the store and the host name, and the run's pid belongs to no process here."""
    host, _, start, boot, _, _ = process_identity().split(":")
    foreign = f"{host}:4194305:{start}:{boot}:4026532000:"
    with monkeypatch.context() as patched, stage_run(LINEAGE, DATASET, "there", {}, "training") as log:
        patched.setattr(MlflowClient, "set_terminated", lambda *_: None)  # it keeps running
        log.tags({"process": foreign})
    with stage_run(LINEAGE, DATASET, "here", {}, "training"):
        assert sorted(runs("RUNNING")) == ["here", "there"]


def test_a_store_that_cannot_be_opened_is_named_without_its_password(
    own_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_store / "file").touch()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{own_store}/file/mlflow.db")
    with pytest.raises(UserError, match="file/mlflow.db cannot be opened"):
        open_store()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError) as caught:
        open_store()
    assert "secret" not in str(caught.value)


def test_a_damaged_store_is_named(own_store: Path) -> None:
    (own_store / "mlruns").mkdir()
    (own_store / "mlruns/mlflow.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(UserError, match="mlruns/mlflow.db cannot be opened"):
        open_store()


def test_the_experiment_stores_artifacts_at_a_relative_path(own_store: Path) -> None:
    with stage_run(LINEAGE, DATASET, "ingest", {}, "ingest"):
        pass
    with sqlite3.connect(own_store / "mlruns/mlflow.db") as database:
        (location,) = database.execute("SELECT artifact_location FROM experiments WHERE name = 'digits'").fetchone()
    assert location == "mlruns/artifacts/digits"


def test_flatten_joins_nested_keys_with_dots() -> None:
    assert flatten({"a": {"b": 1, "c": {"d": 2}}, "e": 3}) == {"a.b": 1, "a.c.d": 2, "e": 3}


def test_the_fingerprint_depends_on_file_contents_and_param_values(own_store: Path) -> None:
    (own_store / "dvc.yaml").write_text("stages: {s: {cmd: x, deps: [code.py, folder], params: [a.b]}}")
    (own_store / "params.yaml").write_text("a: {b: 1, c: 1}")
    (own_store / "code.py").write_text("pass")
    (own_store / "folder").mkdir()
    (own_store / "folder/x").write_text("1")
    fingerprints = [stage_fingerprint("s")]
    (own_store / "params.yaml").write_text("a: {b: 1, c: 2}")
    assert stage_fingerprint("s") == fingerprints[0]
    for path, text in (("params.yaml", "a: {b: 2}"), ("code.py", "pass "), ("folder/x", "2")):
        (own_store / path).write_text(text)
        fingerprints.append(stage_fingerprint("s"))
    assert len(set(fingerprints)) == 4
    (own_store / "code.py").unlink()
    with pytest.raises(UserError, match="Stage s depends on code.py, which is missing"):
        stage_fingerprint("s")
    with pytest.raises(UserError, match="defines a stage 't'"):
        stage_fingerprint("t")


def test_outside_a_repository_the_commit_is_unknown(own_store: Path) -> None:
    assert git_state() == ("unknown", True)


def test_a_store_that_fails_mid_run_and_recovers_ends_up_complete(
    own_store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_store / "curve.csv").write_text("epoch")
    original, down = MlflowClient.log_batch, [False]

    def log_batch(client: MlflowClient, *arguments: Any, **options: Any) -> None:
        unreachable() if down[0] else original(client, *arguments, **options)

    monkeypatch.setattr(MlflowClient, "log_batch", log_batch)
    with stage_run(LINEAGE, DATASET, "train", {}, "training") as log:
        log.metrics({"val/loss": 3.0}, step=1)
        down[0] = True
        log.metrics({"val/loss": 2.0}, step=2)
        log.file(own_store / "curve.csv", "history")
        down[0] = False
        log.metrics({"val/loss": 1.0}, step=3)
    client = open_store()
    (run,) = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    assert run.info.status == "FINISHED"
    assert [(p.step, p.value) for p in client.get_metric_history(run.info.run_id, "val/loss")] == [
        (1, 3),
        (2, 2),
        (3, 1),
    ]
    assert [item.path for item in client.list_artifacts(run.info.run_id, "history")] == ["history/curve.csv"]
    message = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert message.count("Work continues") == 1
    assert "secret" not in message


def unreachable(*_: object, **__: object) -> None:
    raise MlflowException("http://me:secret@server does not answer")


def test_a_store_that_stays_down_fails_nothing_and_the_message_says_what_to_do(
    own_store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with stage_run(LINEAGE, DATASET, "train", {}, "training") as log:
        monkeypatch.setattr(MlflowClient, "log_batch", unreachable)
        monkeypatch.setattr(MlflowClient, "set_terminated", unreachable)
        log.metrics({"val/loss": 2.0}, step=2)
    message = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "No output is missing. When the store is back, run `deepdigits summary`" in message


def test_read_only_store_gives_one_message(own_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_store()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///file:mlruns/mlflow.db?mode=ro&uri=true")
    with pytest.raises(UserError, match="cannot be written: .*readonly"), stage_run(LINEAGE, DATASET, "x", {}, "y"):
        pass


def test_another_environment_does_not_resume_from_a_checkpoint() -> None:
    assert LINEAGE.resume_key == replace(LINEAGE, commit="0" * 40).resume_key
    for key in ENVIRONMENT:
        assert LINEAGE.resume_key != replace(LINEAGE, environment={**ENVIRONMENT, key: "another"}).resume_key


def test_a_run_stays_complete_when_the_clock_runs_backwards(own_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after an NTP correction, or on a machine with an empty clock battery."""
    start, calls = time.time(), itertools.count()
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: start - 3600 * next(calls))
        for loss in (3.0, 1.0):
            with stage_run(LINEAGE, DATASET, "train", {"loss": str(loss)}, "training") as log:
                for step in (1, 2, 3):
                    log.metrics({"val/loss": loss / step}, step=step)
    client = open_store()
    experiment = client.get_experiment_by_name("digits").experiment_id
    for loss in (3.0, 1.0):
        run = find_run(client, experiment, {"stage": "train_cnn", "loss": str(loss)})
        assert run is not None
        assert run.data.metrics["val/loss"] == loss / 3
        history = client.get_metric_history(run.info.run_id, "val/loss")
        assert {point.step: point.value for point in history} == {step: loss / step for step in (1, 2, 3)}
