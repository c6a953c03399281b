"""Where trainings run, and what is refused before they start. Real clusters are in tests/pipeline/test_cluster.py."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from deepdigits.core.errors import UserError
from deepdigits.ops.workers import _check_cluster, connected, on_ray, start


def nodes(*found: tuple[str, float, bool]) -> Any:
    """Stands in for Ray, which lists its nodes with address, CPUs, and whether each is alive."""
    listed = [{"NodeManagerAddress": host, "Resources": {"CPU": cpus}, "Alive": alive} for host, cpus, alive in found]
    return SimpleNamespace(nodes=lambda: listed)


@pytest.fixture(autouse=True)
def no_store_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_a_sqlite_store_is_refused_for_several_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    several = nodes(("10.0.0.1", 4, True), ("10.0.0.2", 4, True))
    with pytest.raises(UserError, match=r"several hosts, which cannot share a SQLite store.*MLflow server"):
        _check_cluster(several, 2)
    _check_cluster(nodes(("10.0.0.1", 4, True), ("10.0.0.1", 4, True), ("10.0.0.2", 4, False)), 2)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example")
    _check_cluster(several, 2)


def test_a_cluster_without_enough_cpus_is_refused_instead_of_waited_for() -> None:
    with pytest.raises(UserError, match="No node of the Ray cluster has 4 CPUs"):
        _check_cluster(nodes(("10.0.0.1", 2, True), ("10.0.0.1", 8, False)), 4)


def test_an_unknown_engine_and_a_missing_address_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE", "dask")
    with pytest.raises(UserError, match="ENGINE must be ray"):
        on_ray()
    monkeypatch.setenv("ENGINE", "ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UserError, match="RAY_ADDRESS=HOST:6379"):
        connected()


def test_a_process_with_a_log_dies_with_the_one_that_started_it(tmp_path: Path) -> None:
    code = (
        "import os, sys, time; from pathlib import Path; from deepdigits.ops.workers import start;"
        "start([sys.executable, '-c', 'import time; time.sleep(60)'], Path('.'), os.environ, Path('log'));"
        "time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=dict(os.environ))
    try:
        children: list[psutil.Process] = []
        deadline = time.monotonic() + 60
        while not children and time.monotonic() < deadline:
            children = psutil.Process(parent.pid).children()
            time.sleep(0.1)
        time.sleep(1)  # until it has asked to die with its parent
        assert children
    finally:
        parent.kill()
        parent.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


def test_a_process_writes_to_its_log(tmp_path: Path) -> None:
    process = start([sys.executable, "-c", "print('said')"], tmp_path, os.environ, tmp_path / "log")
    assert process.wait(60) == 0
    assert (tmp_path / "log").read_text() == "said\n"
