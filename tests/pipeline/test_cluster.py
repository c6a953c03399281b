"""Trainings on the nodes of real clusters: the same bytes as on this machine, and nodes that are lost."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.pipeline.clusters import RayCluster, ray_cluster, slurm_cluster
from tests.pipeline.conftest import Workspace, locked_stages
from tests.unit.test_sharding import result, train

# Equal trials: neither is stopped early for being worse, so each node has one when the second node is lost.
EQUAL = """
objective: val/loss
direction: minimize
space:
  train_cnn.fit.epochs: {choices: [8, 8]}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    with ray_cluster(tmp_path_factory.mktemp("ray")) as running:
        yield running


@pytest.fixture(scope="module")
def in_turn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The CNN, trained by one process of this machine that computes two shards in turn."""
    folder = tmp_path_factory.mktemp("in turn")
    done = train("cnn", folder, 2)
    assert done.returncode == 0, done.stderr
    return result(folder)


def on(cluster: RayCluster, workspace: Workspace) -> Workspace:
    return replace(workspace, environment={**workspace.environment, **cluster.environment})


def test_trainings_on_ray_nodes_give_the_lock_of_this_machine(
    cluster: RayCluster, smoke: Workspace, tmp_path: Path
) -> None:
    workspace = on(cluster, smoke.copy(tmp_path / "on ray"))
    before = locked_stages(workspace.root)
    again = ["dvc", "--wait-for-lock", "repro", "--force", "--no-run-cache", "--single-item"]
    stages = ("train_cnn", "train_rnn")
    running = [
        subprocess.Popen([*again, stage], cwd=workspace.root, env=workspace.environment, stderr=subprocess.PIPE)
        for stage in stages
    ]
    for process in running:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors.decode()
    assert locked_stages(workspace.root) == before


def test_ray_nodes_share_a_training(cluster: RayCluster, in_turn: dict[str, object], tmp_path: Path) -> None:
    done = train("cnn", tmp_path, 2, PROCESSES="2", **cluster.environment)
    assert done.returncode == 0, done.stderr
    assert [result(tmp_path, rank)["weights"] for rank in (0, 1)] == [in_turn["weights"]] * 2
    assert result(tmp_path)["history"] == in_turn["history"]


def test_slurm_nodes_share_a_training(in_turn: dict[str, object], tmp_path: Path) -> None:
    folder, slurm = tmp_path / "shared", tmp_path / "slurm"
    slurm.mkdir()
    with slurm_cluster(slurm) as found:
        launcher = ["salloc", "--nodes=2", "--ntasks-per-node=1", "--mem=0", sys.executable]
        done = train("cnn", folder, 2, *launcher, NODES="2", **found)
        assert done.returncode == 0, done.stderr
    assert [result(folder, rank)["weights"] for rank in (0, 1)] == [in_turn["weights"]] * 2
    assert result(folder)["history"] == in_turn["history"]


def test_a_sweep_on_ray_outlives_a_node(smoke: Workspace, tmp_path: Path) -> None:
    workspace = smoke.copy(tmp_path / "sweeping")
    (workspace.root / "space.yaml").write_text(EQUAL)
    (tmp_path / "ray").mkdir()
    with ray_cluster(tmp_path / "ray") as cluster:
        command = ["deepdigits", "sweep", "train_cnn", "--space", "space.yaml", "--trials", "2", "--jobs", "2"]
        log = (tmp_path / "log").open("wb")
        sweep = subprocess.Popen(
            command, cwd=workspace.root, env=on(cluster, workspace).environment, stdout=log, stderr=subprocess.STDOUT
        )
        wait_for_checkpoints(workspace.root, 2, sweep)
        for process in [*psutil.Process(cluster.node.pid).children(recursive=True), psutil.Process(cluster.node.pid)]:
            process.kill()
        code = sweep.wait(600)
    text = (tmp_path / "log").read_text()
    assert code == 0, text
    assert "lost its node, and goes on elsewhere" in text
    assert (workspace.root / "profiles/best-cnn.yaml").is_file()


def wait_for_checkpoints(root: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while len(list(root.glob("build/sweeps/*/trial-*/.cache/training/*/*/last.ckpt"))) < count:
        assert process.poll() is None
        assert time.monotonic() < deadline, "the trials wrote no checkpoints"
        time.sleep(0.05)
