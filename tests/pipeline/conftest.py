"""Real `dvc repro` runs of the smoke profile in temporary clones, built once and shared by all tests."""

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
from tests.pipeline.killing import MID_STAGE_FILES, run_and_signal
from tests.pipeline.warm import warm_environment, warm_python


@dataclass(frozen=True)
class Workspace:
    """A clone in which the pipeline runs, with the output of its first run.

    With `launchers`, its commands are forks; see `tests.pipeline.warm`. What a test starts by itself is not.
    """

    root: Path
    environment: dict[str, str]
    log: str = ""
    launchers: Path | None = None

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        env = warm_environment(self.environment, self.launchers) if self.launchers else self.environment
        return subprocess.run(
            command, cwd=self.root, env=env, capture_output=True, text=True, timeout=1800, check=False
        )

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("python", *arguments)

    def edit_params(self, old: str, new: str) -> None:
        self.edit(old, new, Path("params.yaml"))

    def edit(self, old: str, new: str, file: Path) -> None:
        path = self.root / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def copy(self, root: Path) -> Workspace:
        """Copy the clone to a folder that a test may change, without files that concurrent tests may be using."""
        ignored = shutil.ignore_patterns("__pycache__", "tmp", "worktrees")
        shutil.copytree(self.root, root, symlinks=True, ignore=ignored)
        return replace(self, root=root, environment=dict(self.environment), log="")


def locked_stages(root: Path) -> dict[str, Any]:
    """Return the entry of each stage in the dvc.lock files."""
    files = (root / lock_of(file) for file in pipeline_files(root))
    return {name: stage for file in files for name, stage in read_yaml(file)["stages"].items()}


def output_hashes(root: Path) -> dict[str, str]:
    """Return the hashes of the files made by the stages after validation."""
    stages = locked_stages(root)
    files = [out["path"] for name in stages if name not in ("ingest", "validate") for out in stages[name]["outs"]]
    return {name: file_sha256(root / name) for name in files if (root / name).is_file()}


def environment(**changes: str) -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "DVC_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**inherited, "PATH": path, "PYTHONPATH": "src", "MLFLOW_DISABLE_TELEMETRY": "true", **changes}


def reproduce(root: Path, launchers: Path, kill_in: Iterable[str] = ()) -> Workspace:
    workspace = replace(prepared_clone(root, environment()), launchers=launchers)
    for stage in kill_in:
        code, log = run_and_signal(
            ["dvc", "repro", stage], root, workspace.environment, MID_STAGE_FILES[stage], signal.SIGKILL
        )
        assert f"Running stage '{stage}'" in log
        assert code == -signal.SIGKILL
    return run_pipeline(workspace)


def prepared_clone(root: Path, env: dict[str, str], mirrors: Sequence[str] | None = None) -> Workspace:
    """Create a clone with the profile's parameters in which nothing has run yet."""
    prepare(ROOT, root, "smoke")
    workspace = Workspace(root, env)
    if mirrors is not None:
        workspace.environment.pop("MNIST_MIRROR", None)
        path = root / "datasets/mnist.yaml"
        text = path.read_text().replace("https://ossci-datasets.s3.amazonaws.com/mnist", mirrors[0])
        path.write_text(text.replace("https://storage.googleapis.com/cvdf-datasets/mnist", mirrors[1]))
    commit(workspace, "The profile's parameters")
    return workspace


def run_pipeline(workspace: Workspace, *tracer: str) -> Workspace:
    done = workspace.run(*tracer, "dvc", "repro", "--all-pipelines")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    commit(workspace, "The pipeline's outputs")
    return replace(workspace, log=done.stdout + done.stderr)


def commit(workspace: Workspace, message: str) -> None:
    """Commit everything, as a user would, so that outputs are traced to a clean commit."""
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["add", "--all"], [*identity, "commit", "--quiet", "--message", message]):
        done = workspace.run("git", *command)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def launchers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the commands that are forks."""
    folder = tmp_path_factory.mktemp("warm")
    with warm_python(folder):
        yield folder


def build_once(tmp_path_factory: pytest.TempPathFactory, name: str, build: Callable[[Path], Workspace]) -> Workspace:
    """Build a workspace in the first test process that asks for it; the others wait and share it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with FileLock(folder / f"{name}.lock"):
        log, root = folder / f"{name}.log", folder / name / "a clone"
        if log.exists():
            return Workspace(root, environment(), log.read_text())
        shutil.rmtree(root, ignore_errors=True)
        workspace = build(root)
        log.write_text(workspace.log)
        return workspace


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest, launchers: Path) -> Workspace:
    """All stages, on MNIST if it can be downloaded. The path contains a space, as users' paths do.

    For `make test-all`, the pipeline was killed in the middle of each stage in `MID_STAGE_FILES` and restarted, so
    whatever tests show about this clone holds despite the kills; above all, that the undisturbed rebuild in
    test_verify.py gives the same bytes.
    """
    extended = any(item.get_closest_marker("extended") for item in request.session.items)
    killed = MID_STAGE_FILES if extended else ()
    built = build_once(tmp_path_factory, "pipeline", lambda root: reproduce(root, launchers, killed))
    return replace(built, launchers=launchers)


@pytest.fixture
def moved(smoke: Workspace, tmp_path: Path) -> Workspace:
    """The finished clone, moved to another folder; tests may change it."""
    return smoke.copy(tmp_path / "moved")


@pytest.fixture(scope="session")
def two_versions(smoke: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Version 1 of the CNN comes from the pipeline; version 2 is the same with noise on its weights."""
    workspace = smoke.copy(tmp_path_factory.mktemp("registry") / "clone")
    workspace.environment["PYTHONPATH"] = "src:."
    done = workspace.python("-m", "tests.pipeline.changed_model", "cnn", "0.3")
    assert done.returncode == 0, done.stderr
    return workspace


@pytest.fixture
def registry_clone(two_versions: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of `two_versions` as the working directory."""
    two_versions.copy(tmp_path / "clone")
    monkeypatch.chdir(tmp_path / "clone")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    # One corruption instead of fifteen: these tests are about what happens to the scores.
    monkeypatch.setattr(robustness, "CORRUPTIONS", {"shear": CORRUPTIONS["shear"]})
    forget_stores()
    yield tmp_path / "clone"
    forget_stores()


@pytest.fixture
def cnn(registry_clone: Path) -> str:
    return f"{read_json(Path('data/processed/manifest.json'))['name']}-cnn"
