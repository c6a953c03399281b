"""A sweep on real data: killed and started again, it ends with a profile that trains to the winner's bytes."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from mlflow import MlflowClient
from ruamel.yaml import YAML

from deepdigits.core.files import file_sha256, read_json
from deepdigits.core.loading import overlay, read_yaml
from tests.pipeline.conftest import Workspace
from tests.pipeline.killing import run_and_signal

SPACE = """
objective: val/loss
direction: minimize
space:
  train_cnn.fit.max_learning_rate: {low: 0.0001, high: 0.05, log: true}
  train_cnn.fit.epochs: {low: 2, high: 3}
"""
TRIALS = 4


@pytest.fixture
def sweeping(smoke: Workspace, tmp_path: Path) -> Workspace:
    workspace = smoke.copy(tmp_path / "sweeping")
    (workspace.root / "space.yaml").write_text(SPACE)
    return workspace


def test_a_killed_sweep_goes_on_and_its_winner_trains_to_the_same_bytes(sweeping: Workspace) -> None:
    root = sweeping.root
    command = ["deepdigits", "sweep", "train_cnn", "--space", "space.yaml", "--name", "quick"]
    command += ["--trials", str(TRIALS), "--jobs", "2"]
    checkpoint = "build/sweeps/quick/trial-*/.cache/training/train_cnn/*/last.ckpt"
    code, log = run_and_signal(command, root, sweeping.environment, checkpoint, signal.SIGKILL)
    assert code == -signal.SIGKILL, log
    done = sweeping.run(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "make repro PROFILE=quick" in done.stdout.replace("\n", " ")

    assert not list((root / "build/sweeps").rglob("test.npz"))
    dataset = read_json(root / "data/processed/manifest.json")["name"]
    client = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name(dataset).experiment_id
    (parent,) = client.search_runs([experiment], "run_name = 'sweep quick'")
    assert parent.info.status == "FINISHED"
    children = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    ended = {run.data.tags["sweep.trial"] for run in children if run.info.status in ("FINISHED", "KILLED")}
    assert ended == {str(number) for number in range(TRIALS)}
    assert not [run for run in children if run.info.status == "RUNNING"]
    assert len(children) > TRIALS, "a trial that was killed has one run, and another one for its resumption"

    number = int(parent.data.tags["sweep.best"])
    trial = root / f"build/sweeps/quick/trial-{number:03d}"
    assert parent.data.metrics["best/val/loss"] == pytest.approx(
        read_json(trial / "reports/metrics/train_cnn.json")["cnn.val.loss"]
    )
    winner = overlay(read_yaml(root / "params.yaml"), read_yaml(root / "profiles/quick.yaml"))
    with (root / "params.yaml").open("w") as file:
        YAML(typ="safe", pure=True).dump({**winner, "profile": "smoke"}, file)
    trained = sweeping.run("dvc", "repro", "--single-item", "train_cnn")
    assert trained.returncode == 0, trained.stderr
    weights = "models/cnn/model.safetensors"
    assert file_sha256(root / weights) == file_sha256(trial / weights)


def test_a_sweep_whose_trials_all_fail_stops_and_shows_why(sweeping: Workspace) -> None:
    path = sweeping.root / "src/deepdigits/tasks/cnn/network.py"
    path.write_text(path.read_text().replace("class Cnn(", "raise RuntimeError('a bug')\nclass Cnn("))
    done = sweeping.run("deepdigits", "sweep", "train_cnn", "--space", "space.yaml", "--trials", "9", "--jobs", "2")
    assert done.returncode == 1
    message = " ".join(done.stderr.replace("│", " ").split())
    assert "The first 3 trials all failed" in message
    assert "a bug" in message
    assert not (sweeping.root / "profiles/best-cnn.yaml").exists()
