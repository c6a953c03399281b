"""A failure of the machine or the store ends a command with one message; a bug of ours keeps its traceback."""

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


def look_up_an_unknown_host() -> None:
    socket.create_connection(("no.such.host.invalid", 80))


def bind_an_address_of_another_family() -> None:
    with socket.socket() as server:
        server.bind(("::1", 0))


def open_a_missing_file() -> None:
    os.open("missing/file", os.O_RDONLY)


def open_a_missing_file_by_its_bytes_path() -> None:
    os.open(b"missing/file", os.O_RDONLY)


def fail_in_tls() -> None:
    raise ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")  # this number is not an errno


def fill_a_database() -> None:
    with sqlite3.connect(":memory:") as database:
        database.execute("PRAGMA max_page_count = 1")
        database.execute("CREATE TABLE t (x)")


def fill_a_database_through_sqlalchemy() -> None:
    with create_engine("sqlite://").connect() as connection:
        connection.execute(text("PRAGMA max_page_count = 1"))
        connection.execute(text("CREATE TABLE t (x)"))


FAILURES = [
    (look_up_an_unknown_host, "Host lookup failed: "),
    (bind_an_address_of_another_family, "Host lookup failed: "),
    (open_a_missing_file, "No such file or directory (missing/file)."),
    (open_a_missing_file_by_its_bytes_path, "No such file or directory (missing/file)."),
    (fail_in_tls, "[SSL: WRONG_VERSION_NUMBER] wrong version number."),
    (fill_a_database, "The MLflow store's database failed: database or disk is full."),
    (fill_a_database_through_sqlalchemy, "The MLflow store's database failed: database or disk is full."),
]


@pytest.mark.parametrize(
    ("module", "again"),
    [("pipelines.ingest", "run `dvc repro` again"), ("deepdigits", "run the command again")],
)
@pytest.mark.parametrize(("fail", "expected"), FAILURES)
def test_a_system_failure_is_reported_in_one_message(
    fail: Callable[[], None],
    expected: str,
    module: str,
    again: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exit, "module_run", lambda: module)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    with pytest.raises(SystemExit) as ended:
        exits_cleanly(fail)()
    assert ended.value.code == 1
    message = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert expected in message
    assert again in message
    assert "Unknown error" not in message


def test_a_stage_run_by_dvc_says_how_to_restore_what_dvc_removed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exit, "module_run", lambda: "pipelines.train_cnn")
    monkeypatch.setenv("DVC_STAGE", "train_cnn")

    def message_on(error: BaseException) -> str:
        @exits_cleanly
        def main() -> None:
            raise error

        with pytest.raises(SystemExit):
            main()
        return " ".join(capsys.readouterr().err.replace("│", " ").split())

    for error in (UserError("Bad."), Terminated(), KeyboardInterrupt()):
        message = message_on(error)
        assert "dvc checkout train_cnn; to restore its metrics, run: git checkout reports/metrics" in message
        assert "train_cnn stopped" in message
    monkeypatch.setattr(exit, "module_run", lambda: "deepdigits")
    monkeypatch.delenv("DVC_STAGE")
    assert "dvc" not in message_on(Terminated())


def test_a_bug_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        exits_cleanly(lambda: print(1 / 0))()


def test_a_user_without_a_home_can_import_everything() -> None:
    unknown = ["unshare", "-U", "--map-user=54321"]
    if subprocess.run([*unknown, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this system does not let a user change their uid (unshare -U)")
    script = (
        "import pipelines.validate, pipelines.package, altair, getpass, os; assert os.path.isdir(os.environ['HOME'])"
    )
    bare = {name: value for name, value in environment().items() if name != "HOME"}
    done = subprocess.run(
        [*unknown, sys.executable, "-c", script], cwd=ROOT, env=bare, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
