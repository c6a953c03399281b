"""What the machine or the store denies ends a command with one message; a defect of ours keeps its traceback."""

import os
import socket
import sqlite3
import ssl
import subprocess
import sys
from collections.abc import Callable

import pytest
from sqlalchemy import create_engine, text

from deepdigits.core.errors import Terminated, UserError
from deepdigits.ops import exit
from deepdigits.ops.exit import exits_cleanly
from tests.conftest import ROOT
from tests.pipeline.conftest import environment


def asks_for_an_unknown_host() -> None:
    socket.create_connection(("no.such.host.invalid", 80))


def binds_an_address_of_another_kind() -> None:
    with socket.socket() as server:
        server.bind(("::1", 0))


def opens_a_missing_file() -> None:
    os.open("missing/file", os.O_RDONLY)


def opens_a_missing_file_by_bytes() -> None:
    os.open(b"missing/file", os.O_RDONLY)


def fails_in_tls() -> None:
    raise ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")  # its number is no errno


def fills_a_database() -> None:
    with sqlite3.connect(":memory:") as database:
        database.execute("PRAGMA max_page_count = 1")
        database.execute("CREATE TABLE t (x)")


def fills_a_database_by_sqlalchemy() -> None:
    with create_engine("sqlite://").connect() as connection:
        connection.execute(text("PRAGMA max_page_count = 1"))
        connection.execute(text("CREATE TABLE t (x)"))


DENIALS = [
    (asks_for_an_unknown_host, "Host lookup failed: "),
    (binds_an_address_of_another_kind, "Host lookup failed: "),
    (opens_a_missing_file, "No such file or directory (missing/file)."),
    (opens_a_missing_file_by_bytes, "No such file or directory (missing/file)."),
    (fails_in_tls, "[SSL: WRONG_VERSION_NUMBER] wrong version number."),
    (fills_a_database, "The MLflow store's database failed: database or disk is full."),
    (fills_a_database_by_sqlalchemy, "The MLflow store's database failed: database or disk is full."),
]


@pytest.mark.parametrize(
    ("module", "again"),
    [("pipelines.ingest", "run `dvc repro` again"), ("deepdigits", "run the command again")],
)
@pytest.mark.parametrize(("fails", "said"), DENIALS)
def test_what_is_denied_is_one_message(
    fails: Callable[[], None],
    said: str,
    module: str,
    again: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exit, "_module_run", lambda: module)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    with pytest.raises(SystemExit) as ended:
        exits_cleanly(fails)()
    assert ended.value.code == 1
    message = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert said in message
    assert again in message
    assert "Unknown error" not in message


def test_a_stage_that_dvc_runs_says_how_to_restore_what_dvc_has_removed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exit, "_module_run", lambda: "pipelines.train_cnn")
    monkeypatch.setenv("DVC_STAGE", "train_cnn")

    def stops(error: BaseException) -> str:
        @exits_cleanly
        def main() -> None:
            raise error

        with pytest.raises(SystemExit):
            main()
        return " ".join(capsys.readouterr().err.replace("│", " ").split())

    for error in (UserError("Bad."), Terminated(), KeyboardInterrupt()):
        said = stops(error)
        assert "dvc checkout train_cnn; to restore its metrics, run: git checkout reports/metrics" in said
        assert "train_cnn stopped" in said
    monkeypatch.setattr(exit, "_module_run", lambda: "deepdigits")
    monkeypatch.delenv("DVC_STAGE")
    assert "dvc" not in stops(Terminated())


def test_a_defect_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        exits_cleanly(lambda: print(1 / 0))()


def test_a_user_without_a_home_imports_all() -> None:
    unknown = ["unshare", "-U", "--map-user=54321"]
    if subprocess.run([*unknown, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this system does not let a user take another number (unshare -U)")
    script = (
        "import pipelines.validate, pipelines.package, altair, getpass, os; assert os.path.isdir(os.environ['HOME'])"
    )
    bare = {name: value for name, value in environment().items() if name != "HOME"}
    done = subprocess.run(
        [*unknown, sys.executable, "-c", script], cwd=ROOT, env=bare, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
