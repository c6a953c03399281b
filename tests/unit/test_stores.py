"""Stores that are missing, silent or full, or that several processes use at once."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from deepdigits.core.errors import UserError
from deepdigits.ops import stores
from deepdigits.ops.stores import reason
from deepdigits.ops.tracking import experiment_id, open_store, stage_run
from tests.conftest import ROOT, forget_stores
from tests.unit.test_tracking import DATASET, LINEAGE

LOG = (
    "import sys, time\n"
    "from tests.unit.test_tracking import *\n"
    "time.sleep(max(0, float(sys.argv[1]) - time.time()))\n"
    "with stage_run(LINEAGE, DATASET, 'x', {}, 'training') as log:\n"
    "    log.tags({'logged': 'yes'})\n"
)


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    forget_stores()
    return tmp_path


@pytest.fixture
def silent() -> Iterator[str]:
    """A port that accepts connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(50)
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", **more}


@pytest.mark.parametrize("address", ["sqlite:///of a team/runs.db", "sqlite:///{}/absolute.db"])
def test_the_first_users_of_a_sqlite_store_take_turns(address: str, own_store: Path) -> None:
    address = address.format(own_store)
    start = str(time.time() + 15)  # by then all have imported what they need
    processes = [
        subprocess.Popen([sys.executable, "-c", LOG, start], env=environment(MLFLOW_TRACKING_URI=address))
        for _ in range(3)
    ]
    assert [process.wait(300) for process in processes] == [0, 0, 0]
    client = MlflowClient(address)
    (experiment,) = [item for item in client.search_experiments() if item.name == "digits"]
    runs = client.search_runs([experiment.experiment_id])
    assert [run.data.tags["logged"] for run in runs] == ["yes"] * 3


def test_all_addresses_of_a_sqlite_file_share_one_lock(own_store: Path) -> None:
    file = own_store / "mlruns/mlflow.db"
    for address in (
        "sqlite:///mlruns/mlflow.db",
        f"sqlite:///{file}",
        "sqlite:///mlruns/../mlruns/mlflow.db",
        "sqlite+pysqlite:///file:mlruns/mlflow.db?mode=ro&uri=true",
    ):
        assert stores.sqlite_file(address) == file
    for address in ("http://mlflow.example", "sqlite://", "sqlite:///:memory:", "postgresql://h/sqlite.db"):
        assert stores.sqlite_file(address) is None


def test_a_deleted_experiment_is_reported_with_how_to_restore_it(own_store: Path) -> None:
    client = open_store()
    client.delete_experiment(experiment_id(client, "digits"))
    with (
        pytest.raises(UserError, match="experiment 'digits' .* has been deleted.*restore --experiment-id 1"),
        stage_run(LINEAGE, DATASET, "x", {}, "y"),
    ):
        pass
    client.restore_experiment("1")
    with stage_run(LINEAGE, DATASET, "x", {}, "y"):
        pass


def test_a_registry_outside_the_tracking_store_is_refused_by_name(
    own_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://me:secret@models.example/x")
    expected = r"REGISTRY_URI \(http://\*\*\*@models.example/\*\*\*\) is not the tracking store"
    with pytest.raises(UserError, match=expected):
        open_store()
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "sqlite:///mlruns/mlflow.db")
    open_store()


@pytest.mark.parametrize(
    ("address", "package"),
    [("mysql://u:secret@h/d", "mysqlclient"), ("mssql://u:secret@h/d", "pyodbc"), ("mysql+pymysql://h/d", "pymysql")],
)
def test_a_missing_driver_is_named(address: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(UserError, match=f"package {package}, .*pip install '{package}'") as caught:
        open_store()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "http://user:sec/ret@127.0.0.1:9/x",
        "http://user:s@sec/ret@127.0.0.1:9",
        "postgresql+psycopg2://user:p@sec:ret@127.0.0.1:9/db",
        "postgresql+psycopg2://user:p@sec/ret@127.0.0.1:9/db",
        "http://[sec.ret",
    ],
)
def test_an_address_that_would_be_misread_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(UserError, match="is ambiguous.*write / as %2F") as caught:
        open_store()
    assert "sec" not in str(caught.value)
    assert "ret" not in str(caught.value)


@pytest.mark.parametrize("path", ["/?access_token=SECRET", "/SECRET/mlflow", "/#SECRET"])
def test_no_secret_part_of_an_address_is_shown_when_nothing_listens(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:9{path}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match=r"127.0.0.1:9/\*\*\* cannot be opened.*refused") as caught:
        open_store()
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["http", "postgresql+psycopg2"])
def test_a_server_that_never_answers_is_reported(scheme: str, silent: str, own_store: Path) -> None:
    """With one second to answer, two for PostgreSQL; the default is 15, with three attempts over HTTP."""
    short = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "1", "PGCONNECT_TIMEOUT": "2"}
    started = time.monotonic()
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from deepdigits.ops.tracking import *\ntry: open_store()\nexcept UserError as e: print(e)",
        ],
        env=environment(MLFLOW_TRACKING_URI=f"{scheme}://me:secret@{silent}/db", **short),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "cannot be opened" in done.stdout
    assert "timed out" in done.stdout or "timeout expired" in done.stdout
    assert "secret" not in done.stdout + done.stderr
    assert time.monotonic() - started < 60


def test_the_default_wait_for_a_server_is_at_most_a_minute() -> None:
    script = (
        "import os\n"
        "for name in ('MLFLOW_HTTP_REQUEST_TIMEOUT', 'MLFLOW_HTTP_REQUEST_MAX_RETRIES', 'PGCONNECT_TIMEOUT'):\n"
        "    os.environ.pop(name, None)\n"
        "import deepdigits.ops.stores\n"
        "from mlflow.environment_variables import *\n"
        "tries = 1 + MLFLOW_HTTP_REQUEST_MAX_RETRIES.get()\n"
        "print(tries * MLFLOW_HTTP_REQUEST_TIMEOUT.get(), os.environ['PGCONNECT_TIMEOUT'])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["45", "15"]  # between the attempts, MLflow waits another 5 seconds


def test_a_full_disk_is_reported(own_store: Path) -> None:
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this system does not let a user create a mount namespace (unshare -Urm)")
    script = (
        "from tests.unit.test_tracking import *\n"
        "from pathlib import Path\n"
        "Path('big').write_bytes(bytes(400_000))\n"
        "try:\n"
        "    with stage_run(LINEAGE, DATASET, 'x', {}, 'training') as log: log.file(Path('big'))\n"
        "    print('went on')\n"
        "    Path('mlruns/rest').open('wb', 0).write(bytes(4_000_000))\n"
        "    with stage_run(LINEAGE, DATASET, 'y' * 250, {str(i): 'z' * 4000 for i in range(200)}, 'training'): pass\n"
        "except UserError as error: print('stopped:', error)\n"
    )
    (own_store / "mlruns").mkdir()
    mounted = 'mount -t tmpfs -o size=1300k tmpfs mlruns && exec "$@"'
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", mounted, "sh", sys.executable, "-c", script],
        env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    message = " ".join(done.stderr.replace("│", " ").split())
    assert "is out of disk space" in message, message + done.stdout
    assert "went on" in done.stdout, message
    assert "Its disk is full. Free some space there" in done.stdout, message


def test_an_experiment_in_a_temporary_folder_logs_to_the_repository(own_store: Path) -> None:
    stage = ["dvc", "stage", "add", "-q", "-n", "s", "-o", "out", "python stage.py"]
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"], stage):
        subprocess.run(command, check=True, capture_output=True, env=environment())
    (own_store / "stage.py").write_text(
        "from tests.unit.test_tracking import *\n"
        "Path('note').write_text('hello')\n"
        "with stage_run(LINEAGE, DATASET, 'x', {'folder': str(Path.cwd())}, 'training') as log:\n"
        "    log.file(Path('note'))\n"
        "Path('note').rename('out')\n"
    )
    (own_store / ".gitignore").write_text("/mlruns\n/out\n")
    identity = {f"GIT_{who}_{what}": "me@example" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    for command in (["git", "add", "."], ["git", "commit", "-qm", "x"], ["dvc", "exp", "run", "--temp"]):
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment(**identity))
        assert done.returncode == 0, done.stdout + done.stderr
    client = open_store()
    (run,) = client.search_runs([experiment_id(client, "digits")])
    assert ".dvc/tmp/exps" in run.data.tags["folder"]
    assert run.info.artifact_uri == f"mlruns/artifacts/digits/{run.info.run_id}/artifacts"
    assert (own_store / run.info.artifact_uri / "note").read_text() == "hello"
    assert not (own_store / "mlruns").is_symlink()


def test_a_failed_write_is_reported_by_its_cause() -> None:
    error = MlflowException(
        "(raised as a result of Query-invoked autoflush; consider using a session.no_autoflush block if this flush "
        "is occurring prematurely)\n(sqlite3.OperationalError) attempt to write a readonly database\n[SQL: INSERT]"
    )
    assert reason(error) == "(sqlite3.OperationalError) attempt to write a readonly database"
