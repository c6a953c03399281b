"""What befalls a machine in the midst of a stage. docs/reliability.md lists each fault with its test."""

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
from tests.pipeline.conftest import Workspace, locked, outputs
from tests.pipeline.killing import MIDST, end_when

TRAININGS = [f"train_{name}" for name in TASKS]
FULL = "No space left on device"


@pytest.fixture(scope="module")
def hurt(smoke: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of the finished clone. Each test leaves it whole, which the next one relies on."""
    return smoke.copy(tmp_path_factory.mktemp("faults") / "clone")


def assert_whole(workspace: Workspace, smoke: Workspace) -> None:
    """Every output is the one that was made before, and nothing half-written lies about."""
    assert outputs(workspace.root) == outputs(smoke.root)
    assert not list(workspace.root.glob("models/**/.*.part"))
    status = workspace.run("dvc", "status")
    assert "up to date" in status.stdout, status.stdout + status.stderr


def restore(workspace: Workspace, said: str) -> None:
    """Do as the message of a stage says that DVC ran: its earlier outputs are in the cache, its metrics in git."""
    (stage,) = set(re.findall(r"dvc checkout (\S+);", " ".join(said.replace("│", " ").split())))
    assert workspace.run("dvc", "checkout", stage).returncode == 0
    assert workspace.run("git", "checkout", "reports/metrics").returncode == 0


def in_own_mounts(workspace: Workspace, script: str) -> subprocess.CompletedProcess[str]:
    """Run shell commands where `mount` concerns nobody else."""
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this system does not let a user have mounts of its own (unshare -Urm)")
    return workspace.run("unshare", "-Urm", "sh", "-ec", script)


@pytest.mark.parametrize(
    ("stage", "folder", "kibibytes"),
    [("ingest", "data", 200), ("train_cnn", ".cache", 200), ("train_rnn", "models", 20), ("package", "models", 20)],
)
def test_a_full_disk_is_one_message_and_costs_no_output(
    stage: str, folder: str, kibibytes: int, hurt: Workspace, smoke: Workspace
) -> None:
    # The folder as it is, on a disk of its own with this little left.
    script = f"""
        cp -a {folder} "$PWD.kept"
        mount -t tmpfs -o size=$(($(du -sk {folder} | cut -f1) + {kibibytes}))k tmpfs {folder}
        cp -a "$PWD.kept"/. {folder}
        rm -r "$PWD.kept"
        find {folder} -type f | sort | xargs sha256sum > "$PWD.before"
        {sys.executable} -m pipelines.{stage}{" cnn" if stage == "package" else ""} && code=0 || code=$?
        find {folder} -type f | sort | xargs sha256sum > "$PWD.after"
        exit $code"""
    (hurt.root / folder).mkdir(exist_ok=True)
    done = in_own_mounts(hurt, script)
    assert done.returncode == 1, done.stdout + done.stderr
    assert FULL in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    if folder != ".cache":
        kept = [hurt.root.with_name(f"{hurt.root.name}.{when}").read_text() for when in ("before", "after")]
        assert kept[0] == kept[1]
    assert_whole(hurt, smoke)


def test_a_store_that_cannot_be_written_is_one_message(hurt: Workspace, smoke: Workspace) -> None:
    mounted = "mount --bind mlruns mlruns && mount -o remount,ro,bind mlruns"
    done = in_own_mounts(hurt, f"{mounted} && {sys.executable} -m pipelines.package cnn")
    assert done.returncode == 1
    assert "MLflow store" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert_whole(hurt, smoke)


def test_a_store_that_is_not_there_stops_a_stage_before_its_work(hurt: Workspace, smoke: Workspace) -> None:
    hurt.environment["MLFLOW_TRACKING_URI"] = closed_port().replace("//", "//someone:secret@")
    try:
        done = hurt.run("dvc", "repro", "--force", "--single-item", "train_cnn")
    finally:
        del hurt.environment["MLFLOW_TRACKING_URI"]
    assert done.returncode != 0
    said = " ".join(done.stderr.split())
    assert "cannot be opened" in said
    assert "Check MLFLOW_TRACKING_URI" in said
    assert "secret" not in done.stdout + done.stderr
    assert "epoch 1" not in done.stdout
    restore(hurt, done.stderr)
    assert_whole(hurt, smoke)


def test_a_damaged_store_is_named(hurt: Workspace, smoke: Workspace) -> None:
    store = hurt.root / "mlruns/mlflow.db"
    kept = store.read_bytes()
    store.write_bytes(kept[:4096] + b"\xff" * (len(kept) - 4096))
    try:
        done = hurt.run("dvc", "repro", "--force", "--single-item", "validate")
    finally:
        store.write_bytes(kept)
    assert done.returncode != 0
    assert "mlflow.db" in done.stderr
    assert "Traceback" not in done.stderr
    restore(hurt, done.stderr)
    assert_whole(hurt, smoke)


def test_ctrl_c_says_how_to_go_on_and_how_to_have_the_earlier_outputs_back(hurt: Workspace, smoke: Workspace) -> None:
    shutil.rmtree(hurt.root / ".cache", ignore_errors=True)  # a disk that was full left a finished training there
    command = ["dvc", "repro", "--force", "--single-item", "train_rnn"]
    code, said = end_when(command, hurt.root, hurt.environment, MIDST["train_rnn"], signal.SIGINT)
    assert code != 0
    assert "Run `dvc repro` to resume" in said
    assert "Traceback" not in said
    assert not (hurt.root / "models/rnn/model.safetensors").exists()
    restore(hurt, said)
    assert_whole(hurt, smoke)


def test_two_at_once_wait_or_refuse_and_harm_nothing(hurt: Workspace, smoke: Workspace) -> None:
    done: list[subprocess.CompletedProcess[str]] = []

    def repro() -> None:
        done.append(hurt.run("dvc", "repro", "--force", "--single-item", "validate"))

    threads = [threading.Thread(target=repro) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert any(one.returncode == 0 for one in done), [one.stderr for one in done]
    for one in done:
        assert one.returncode == 0 or "lock" in one.stderr or "busy" in one.stderr, one.stderr
        assert "Traceback" not in one.stderr
    assert_whole(hurt, smoke)
    assert hurt.python("-m", "deepdigits", "check").returncode == 0


def test_a_lock_of_dvc_that_is_held_is_waited_for(hurt: Workspace, smoke: Workspace) -> None:
    held = LockFile(str(hurt.root / ".dvc/tmp/lock"))
    release = threading.Timer(10, held.close)  # by itself DVC gives up after 3 seconds
    release.start()
    done = make_repro(hurt, jobs=1)
    release.join()
    assert done.returncode == 0, done.stderr
    assert_whole(hurt, smoke)


def make_repro(workspace: Workspace, jobs: int) -> subprocess.CompletedProcess[str]:
    """`make repro-all`, but for the environment, which is the one that runs this."""
    return workspace.run("make", "repro-all", "STAMP=", f"JOBS={jobs}")


def test_trainings_at_once_make_the_same_lock(hurt: Workspace, smoke: Workspace) -> None:
    """They log into one store, and resume what is cached of none."""
    locks = [hurt.root / lock_of(file) for file in pipeline_files(hurt.root)]
    before = [lock.read_bytes() for lock in locks]
    shutil.rmtree(hurt.root / ".dvc/cache")
    stages = locked(hurt.root)
    for out in (out for name in TRAININGS for out in stages[name]["outs"]):
        path = hurt.root / out["path"]
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    done = make_repro(hurt, jobs=3)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"Running stage '\S*train_", done.stdout)) == len(TRAININGS)
    assert [lock.read_bytes() for lock in locks] == before
    assert_whole(hurt, smoke)


def test_of_trainings_at_once_one_that_fails_stops_no_other(hurt: Workspace) -> None:
    hurt.edit_params("hidden: 64", "hidden: 16")
    hurt.edit_params("max_learning_rate: 0.05", "max_learning_rate: 0.04")
    checkpoints = hurt.root / ".cache/training/train_cnn"
    shutil.rmtree(checkpoints, ignore_errors=True)
    checkpoints.write_text("in the way")
    old = file_sha256(hurt.root / "models/rnn/model.safetensors")
    done = make_repro(hurt, jobs=2)
    assert done.returncode != 0
    assert "train_cnn" in done.stderr
    assert "Not a directory" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Running stage 'evaluate" not in done.stdout
    assert not (hurt.root / "models/cnn/model.safetensors").exists()
    assert file_sha256(hurt.root / "models/rnn/model.safetensors") != old
