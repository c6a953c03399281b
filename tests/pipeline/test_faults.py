"""Machine faults in the middle of a stage. docs/reliability.md lists each fault with its test."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import threading

import pytest
from zc.lockfile import LockFile

from deepdigits.core.files import file_sha256
from deepdigits.ops.pipeline import pipeline_files
from deepdigits.release.lockcheck import lock_of
from deepdigits.tasks.catalogue import TASKS
from tests.conftest import closed_port
from tests.pipeline.conftest import Workspace, locked_stages, output_hashes
from tests.pipeline.killing import MID_STAGE_FILES, run_and_signal

TRAININGS = [f"train_{name}" for name in TASKS]
DISK_FULL = "No space left on device"


@pytest.fixture(scope="module")
def clone(smoke: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of the finished clone. Each test leaves it intact, because the next one relies on it."""
    return smoke.copy(tmp_path_factory.mktemp("faults") / "clone")


def assert_intact(workspace: Workspace, smoke: Workspace) -> None:
    """Check that every output is unchanged and that no half-written file is left behind."""
    assert output_hashes(workspace.root) == output_hashes(smoke.root)
    assert not list(workspace.root.glob("models/**/.*.part"))
    status = workspace.run("dvc", "status")
    assert "up to date" in status.stdout, status.stdout + status.stderr


def restore(workspace: Workspace, message: str) -> None:
    """Follow the message of a stage run by DVC: its earlier outputs are in the cache, its metrics in git."""
    (stage,) = set(re.findall(r"dvc checkout (\S+);", " ".join(message.replace("│", " ").split())))
    assert workspace.run("dvc", "checkout", stage).returncode == 0
    assert workspace.run("git", "checkout", "reports/metrics").returncode == 0


def in_mount_namespace(workspace: Workspace, script: str) -> subprocess.CompletedProcess[str]:
    """Run shell commands in a mount namespace of their own, so that `mount` affects nothing else."""
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this system does not allow user mount namespaces (unshare -Urm)")
    return workspace.run("unshare", "-Urm", "sh", "-ec", script)


@pytest.mark.parametrize(
    ("stage", "folder", "kibibytes"),
    [("ingest", "data", 200), ("train_cnn", ".cache", 200), ("train_rnn", "models", 20), ("package", "models", 20)],
)
def test_full_disk_gives_one_message_and_loses_no_output(
    stage: str, folder: str, kibibytes: int, clone: Workspace, smoke: Workspace
) -> None:
    # Put the folder, unchanged, on its own disk with only this much space left.
    script = f"""
        cp -a {folder} "$PWD.kept"
        mount -t tmpfs -o size=$(($(du -sk {folder} | cut -f1) + {kibibytes}))k tmpfs {folder}
        cp -a "$PWD.kept"/. {folder}
        rm -r "$PWD.kept"
        find {folder} -type f | sort | xargs sha256sum > "$PWD.before"
        {sys.executable} -m pipelines.{stage}{" cnn" if stage == "package" else ""} && code=0 || code=$?
        find {folder} -type f | sort | xargs sha256sum > "$PWD.after"
        exit $code"""
    (clone.root / folder).mkdir(exist_ok=True)
    done = in_mount_namespace(clone, script)
    assert done.returncode == 1, done.stdout + done.stderr
    assert DISK_FULL in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    if folder != ".cache":
        before, after = (clone.root.with_name(f"{clone.root.name}.{when}").read_text() for when in ("before", "after"))
        assert before == after
    assert_intact(clone, smoke)


def test_read_only_store_gives_one_message(clone: Workspace, smoke: Workspace) -> None:
    mounted = "mount --bind mlruns mlruns && mount -o remount,ro,bind mlruns"
    done = in_mount_namespace(clone, f"{mounted} && {sys.executable} -m pipelines.package cnn")
    assert done.returncode == 1
    assert "MLflow store" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert_intact(clone, smoke)


def test_unreachable_store_stops_a_stage_before_any_work(clone: Workspace, smoke: Workspace) -> None:
    clone.environment["MLFLOW_TRACKING_URI"] = closed_port().replace("//", "//someone:secret@")
    try:
        done = clone.run("dvc", "repro", "--force", "--single-item", "train_cnn")
    finally:
        del clone.environment["MLFLOW_TRACKING_URI"]
    assert done.returncode != 0
    message = " ".join(done.stderr.split())
    assert "cannot be opened" in message
    assert "Check MLFLOW_TRACKING_URI" in message
    assert "secret" not in done.stdout + done.stderr
    assert "epoch 1" not in done.stdout
    restore(clone, done.stderr)
    assert_intact(clone, smoke)


def test_a_damaged_store_is_named(clone: Workspace, smoke: Workspace) -> None:
    store = clone.root / "mlruns/mlflow.db"
    original = store.read_bytes()
    store.write_bytes(original[:4096] + b"\xff" * (len(original) - 4096))
    try:
        done = clone.run("dvc", "repro", "--force", "--single-item", "validate")
    finally:
        store.write_bytes(original)
    assert done.returncode != 0
    assert "mlflow.db" in done.stderr
    assert "Traceback" not in done.stderr
    restore(clone, done.stderr)
    assert_intact(clone, smoke)


def test_ctrl_c_explains_how_to_resume_and_how_to_restore_earlier_outputs(clone: Workspace, smoke: Workspace) -> None:
    shutil.rmtree(clone.root / ".cache", ignore_errors=True)  # the full-disk test left a finished training there
    command = ["dvc", "repro", "--force", "--single-item", "train_rnn"]
    code, message = run_and_signal(command, clone.root, clone.environment, MID_STAGE_FILES["train_rnn"], signal.SIGINT)
    assert code != 0
    assert "Run `dvc repro` to resume" in message
    assert "Traceback" not in message
    assert not (clone.root / "models/rnn/model.safetensors").exists()
    restore(clone, message)
    assert_intact(clone, smoke)


def test_concurrent_repros_wait_or_refuse_and_corrupt_nothing(clone: Workspace, smoke: Workspace) -> None:
    results: list[subprocess.CompletedProcess[str]] = []

    def repro() -> None:
        results.append(clone.run("dvc", "repro", "--force", "--single-item", "validate"))

    threads = [threading.Thread(target=repro) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert any(result.returncode == 0 for result in results), [result.stderr for result in results]
    for result in results:
        assert result.returncode == 0 or "lock" in result.stderr or "busy" in result.stderr, result.stderr
        assert "Traceback" not in result.stderr
    assert_intact(clone, smoke)
    assert clone.python("-m", "deepdigits", "check").returncode == 0


def test_make_repro_waits_for_a_held_dvc_lock(clone: Workspace, smoke: Workspace) -> None:
    lock_file = LockFile(str(clone.root / ".dvc/tmp/lock"))
    release = threading.Timer(10, lock_file.close)  # DVC on its own gives up after 3 seconds
    release.start()
    done = make_repro(clone, jobs=1)
    release.join()
    assert done.returncode == 0, done.stderr
    assert_intact(clone, smoke)


def make_repro(workspace: Workspace, jobs: int) -> subprocess.CompletedProcess[str]:
    """Run `make repro-all`, except that it uses the environment of the tests."""
    return workspace.run("make", "repro-all", "STAMP=", f"JOBS={jobs}")


def test_parallel_trainings_produce_the_same_lock(clone: Workspace, smoke: Workspace) -> None:
    """They log into one store, and none of them resumes from a cache."""
    locks = [clone.root / lock_of(file) for file in pipeline_files(clone.root)]
    before = [lock.read_bytes() for lock in locks]
    shutil.rmtree(clone.root / ".dvc/cache")
    stages = locked_stages(clone.root)
    for out in (out for name in TRAININGS for out in stages[name]["outs"]):
        path = clone.root / out["path"]
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    done = make_repro(clone, jobs=3)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"Running stage '\S*train_", done.stdout)) == len(TRAININGS)
    assert [lock.read_bytes() for lock in locks] == before
    assert_intact(clone, smoke)


def test_failed_parallel_training_does_not_stop_the_others(clone: Workspace) -> None:
    clone.edit_params("hidden: 64", "hidden: 16")
    clone.edit_params("textured_fraction: 0.15", "textured_fraction: 0.2")
    checkpoints = clone.root / ".cache/training/train_cnn"
    shutil.rmtree(checkpoints, ignore_errors=True)
    checkpoints.write_text("in the way")
    old_sha256 = file_sha256(clone.root / "models/rnn/model.safetensors")
    done = make_repro(clone, jobs=2)
    assert done.returncode != 0
    assert "train_cnn" in done.stderr
    assert "Not a directory" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Running stage 'evaluate" not in done.stdout
    assert not (clone.root / "models/cnn/model.safetensors").exists()
    assert file_sha256(clone.root / "models/rnn/model.safetensors") != old_sha256
