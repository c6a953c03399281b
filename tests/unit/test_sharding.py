"""Trainings that several processes share: the same bytes as one process that computes all shards in turn."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from deepdigits.core.errors import UserError
from deepdigits.core.files import read_json
from deepdigits.tasks.catalogue import TASKS
from deepdigits.training.processes import Place
from deepdigits.training.sharding import ShardedTraining
from tests.conftest import ROOT

STEPS = 3
ALL = ",".join(TASKS)


def train(names: str, folder: Path, shards: int, *launcher: str, steps: int = STEPS, **environment: str) -> Any:
    """Train in a process of its own, and return the completed process."""
    command = [*launcher] or [sys.executable]
    variables = {**os.environ, "PYTHONPATH": "src", "OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "1", **environment}
    command += ["-m", "tests.unit.shared_training", names, str(folder), str(shards), str(steps)]
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False, timeout=600)


def result(folder: Path, rank: int = 0, name: str = "cnn") -> dict[str, Any]:
    return dict(read_json(folder / name / str(rank) / "result.json"))


@pytest.fixture(scope="module")
def in_turn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All networks, trained by one process that computes two shards in turn."""
    folder = tmp_path_factory.mktemp("in turn")
    done = train(ALL, folder, 2)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All networks, trained by two processes that compute one shard each."""
    folder = tmp_path_factory.mktemp("shared")
    done = train(ALL, folder, 2, PROCESSES="2")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", list(TASKS))
def test_two_processes_train_to_the_bytes_of_two_shards_in_turn(name: str, in_turn: Path, shared: Path) -> None:
    alone = result(in_turn, 0, name)
    for rank in (0, 1):
        found = result(shared, rank, name)
        assert (alone["of"], found["of"]) == (1, 2)
        assert found["weights"] == alone["weights"]
        assert found["history"] == alone["history"]


def test_torchrun_trains_to_the_same_bytes(in_turn: Path, tmp_path: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = train("cnn", tmp_path, 2, *launcher)
    assert done.returncode == 0, done.stderr
    assert [result(tmp_path, rank)["weights"] for rank in (0, 1)] == [result(in_turn)["weights"]] * 2
    assert result(tmp_path)["of"] == 2


def test_four_shards_are_added_in_the_same_order_by_one_two_and_four_processes(tmp_path: Path) -> None:
    found = []
    for count in ("1", "2", "4"):
        done = train("cnn", tmp_path / count, 4, steps=2, PROCESSES=count)
        assert done.returncode == 0, done.stderr
        found.append(result(tmp_path / count))
    assert [one["of"] for one in found] == [1, 2, 4]
    assert found[0]["weights"] == found[1]["weights"] == found[2]["weights"]


def test_a_killed_shared_training_resumes_to_the_same_bytes(in_turn: Path, tmp_path: Path) -> None:
    killed = train("cnn", tmp_path, 2, PROCESSES="2", KILL=str(STEPS + 2))
    assert killed.returncode == -9
    shutil.rmtree(tmp_path / "cnn/1")  # the helper's own folder, which no helper needs to find again
    done = train("cnn", tmp_path, 2, PROCESSES="2")
    assert done.returncode == 0, done.stderr
    assert result(tmp_path)["weights"] == result(in_turn)["weights"]
    assert result(tmp_path)["history"] == result(in_turn)["history"]


def test_processes_that_cannot_share_the_shards_are_refused(tmp_path: Path) -> None:
    done = train("cnn", tmp_path, 1, PROCESSES="2")
    assert done.returncode == 1
    assert "2 processes cannot share 1 shard equally. Set compute.shards in params.yaml" in " ".join(
        done.stderr.replace("│", " ").split()
    )
    assert done.stderr.count("cannot share") == 1, "one message, whichever process fails"


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"PROCESSES": "two"}, "PROCESSES must be a whole number"),
        ({"PROCESSES": "2", "NODES": "2"}, "not both"),
        ({"NODES": "2"}, "needs a SLURM job"),
    ],
)
def test_a_wrong_number_of_processes_is_refused(environment: dict[str, str], message: str, tmp_path: Path) -> None:
    done = train("cnn", tmp_path, 2, **environment)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


class Least(ShardedTraining):
    """The least training: one weight, and batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(1, affine=False)
        self.weight = nn.Parameter(torch.ones(1))


def test_gradients_are_weighted_and_the_first_shards_statistics_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Least()
    monkeypatch.setattr(module, "log_dict", lambda values, **_: logged.update(values))
    monkeypatch.setattr(Least, "current_epoch", 0)
    logged: dict[str, torch.Tensor] = {}
    module.cut(2, seed=1)
    batch = torch.tensor([[0.0], [2.0], [10.0], [20.0]])
    for (values,) in module.turns([batch], 0):
        module.norm(values)
        loss = (module.weight * values).mean()
        loss.backward()
        module.note({"loss": loss}, weight=values.max())
    weighted = (2 * 1 + 20 * 15) / 22
    assert module.weight.grad is not None
    assert float(module.weight.grad) == pytest.approx(weighted)
    assert float(logged["train/loss"]) == pytest.approx(weighted)
    assert float(module.norm.running_mean) == pytest.approx(0.1 * 1)  # momentum times the first shard's mean
    assert int(module.norm.num_batches_tracked) == 1


def test_each_shard_draws_its_own_numbers_whoever_computes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Least()
    monkeypatch.setattr(Least, "current_epoch", 3)
    module.cut(2, seed=1)
    drawn = []
    for index, shard in ((0, 0), (0, 1), (1, 0), (0, 0)):
        module.seed_draws(index, shard)
        drawn.append(float(torch.rand(())))
    assert len(set(drawn)) == 3
    assert drawn[0] == drawn[3]


def test_shards_are_divided_among_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Least()
    parts = []
    for index in range(2):
        monkeypatch.setattr("deepdigits.training.sharding.place", lambda index=index: Place(index, 2))
        module.cut(6, seed=0)
        parts.append(list(module._own_shards()))
    assert parts == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(UserError, match="2 processes cannot share 3 shards equally"):
        module.cut(3, seed=0)
