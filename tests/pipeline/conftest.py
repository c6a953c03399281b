"""Real `dvc repro` runs of the smoke profile in temporary clones; made once and shared by all tests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from deepdigits.core.files import file_sha256, read_json
from deepdigits.core.loading import read_yaml
from deepdigits.ops.pipeline import pipeline_files
from deepdigits.release.lockcheck import lock_of
from deepdigits.release.workspace import prepare
from deepdigits.tasks.classification import robustness
from deepdigits.tasks.classification.corruptions import CORRUPTIONS
from tests.conftest import ROOT, forget_stores
from tests.pipeline.killing import MIDST, end_when


@dataclass(frozen=True)
class Workspace:
    """A clone in which the pipeline runs, and what the first run printed."""

    root: Path
    environment: dict[str, str]
    log: str = ""

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=1800, check=False
        )

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, *arguments)

    def edit_params(self, old: str, new: str) -> None:
        path = self.root / "params.yaml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def copy(self, root: Path) -> Workspace:
        """Another folder with the same, that a test may change. What other tests of this one may be running is left."""
        ignored = shutil.ignore_patterns("__pycache__", "tmp", "worktrees")
        shutil.copytree(self.root, root, symlinks=True, ignore=ignored)
        return Workspace(root, dict(self.environment))


def locked(root: Path) -> dict[str, Any]:
    """What the dvc.lock files say of each stage."""
    files = (root / lock_of(file) for file in pipeline_files(root))
    return {name: stage for file in files for name, stage in read_yaml(file)["stages"].items()}


def outputs(root: Path) -> dict[str, str]:
    """Hashes of what the stages after validation made."""
    stages = locked(root)
    files = [out["path"] for name in stages if name not in ("ingest", "validate") for out in stages[name]["outs"]]
    return {name: file_sha256(root / name) for name in files if (root / name).is_file()}


def environment(**changes: str) -> dict[str, str]:
    own = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "DVC_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**own, "PATH": path, "PYTHONPATH": "src", "MLFLOW_DISABLE_TELEMETRY": "true", **changes}


def reproduce(root: Path, mirrors: Sequence[str] | None = None, kill_in: Iterable[str] = ()) -> Workspace:
    workspace = prepared(root, environment(), mirrors)
    for stage in kill_in:
        code, log = end_when(["dvc", "repro", stage], root, workspace.environment, MIDST[stage], signal.SIGKILL)
        assert f"Running stage '{stage}'" in log
        assert code == -signal.SIGKILL
    return finished(workspace)


def prepared(root: Path, env: dict[str, str], mirrors: Sequence[str] | None = None) -> Workspace:
    """A clone with the profile's parameters, in which nothing has run yet."""
    prepare(ROOT, root, "smoke")
    workspace = Workspace(root, env)
    if mirrors is not None:
        workspace.environment.pop("MNIST_MIRROR", None)
        path = root / "params.yaml"
        lines = path.read_text().replace("https://ossci-datasets.s3.amazonaws.com/mnist", mirrors[0])
        path.write_text(lines.replace("https://storage.googleapis.com/cvdf-datasets/mnist", mirrors[1]))
    commit(workspace, "The profile's parameters")
    return workspace


def finished(workspace: Workspace, *tracer: str) -> Workspace:
    done = workspace.run(*tracer, "dvc", "repro", "--all-pipelines")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    commit(workspace, "What the pipeline made")
    return replace(workspace, log=done.stdout + done.stderr)


def commit(workspace: Workspace, message: str) -> None:
    """As a person would, so that what is made has a clean origin."""
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["add", "--all"], [*identity, "commit", "--quiet", "--message", message]):
        done = workspace.run("git", *command)
        assert done.returncode == 0, done.stderr


def once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Workspace]) -> Workspace:
    """Made by the first of the processes that run the tests to ask for it; the others wait."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with FileLock(folder / f"{name}.lock"):
        log, root = folder / f"{name}.log", folder / name / "a clone"
        if log.exists():
            return Workspace(root, environment(), log.read_text())
        shutil.rmtree(root, ignore_errors=True)
        made = make(root)
        log.write_text(made.log)
        return made


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """All seven stages, on MNIST where it can be had. The path has a space in it, as people's paths do.

    The pipeline was killed in the midst of each stage and begun again, so that whatever holds of this clone holds in
    spite of that; above all that test_verify.py, undisturbed elsewhere, finds the same bytes.
    """
    return once(tmp_path_factory, "pipeline", lambda root: reproduce(root, kill_in=MIDST))


@pytest.fixture
def moved(smoke: Workspace, tmp_path: Path) -> Workspace:
    """The finished clone, moved to another folder; tests may change it."""
    return smoke.copy(tmp_path / "moved")


@pytest.fixture(scope="session")
def two_versions(smoke: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Version 1 of the CNN is what the pipeline made, version 2 the same with noise on its weights."""
    workspace = smoke.copy(tmp_path_factory.mktemp("registry") / "clone")
    workspace.environment["PYTHONPATH"] = "src:."
    done = workspace.python("-m", "tests.pipeline.changed_model", "cnn", "0.4")
    assert done.returncode == 0, done.stderr
    return workspace


@pytest.fixture
def here(two_versions: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    two_versions.copy(tmp_path / "here")
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
