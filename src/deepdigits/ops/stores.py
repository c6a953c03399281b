"""What stands between us and an MLflow store: its address, its locks, its silence, and what is said of its errors."""

from __future__ import annotations

import contextlib
import errno
import os
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import urlsplit

import sqlalchemy
from filelock import FileLock
from sqlalchemy.exc import ArgumentError

from deepdigits.core.addresses import host_of, masked
from deepdigits.core.errors import UserError

# A server that is gone or never answers is told of within a minute, by three attempts of this many seconds each; by
# itself MLflow would take a quarter of an hour, and hold up a training for as long.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
os.environ.setdefault("PGCONNECT_TIMEOUT", "15")  # libpq's own, of every connection to PostgreSQL

LOCK_SECONDS = 600  # a busy machine registers seven models in minutes
DATABASES = ("postgresql", "mysql", "mssql")
# What to install for the driver that SQLAlchemy looks for.
DRIVERS = {"psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}


def check_address(uri: str) -> None:
    """Refuse what MLflow would misread, and a database that cannot be reached.

    MLflow itself tries a database ten times, for a minute and a half and more, before it tells of a wrong password.

    Raises:
        UserError: the address or the registry's is no good, or a driver is missing.
        SQLAlchemyError: the database does not let us in.
    """
    registry = os.environ.get("MLFLOW_REGISTRY_URI")
    if registry and registry != uri:
        raise UserError(
            f"MLFLOW_REGISTRY_URI ({masked(registry)}) is not the store of the runs ({masked(uri)}). "
            "Models and runs belong in one store here. Unset it, or set MLFLOW_TRACKING_URI to it."
        )
    if not _is_read_as_meant(uri):
        raise UserError(
            f"MLFLOW_TRACKING_URI ({masked(uri)}) cannot be read for sure. In its user and password write / as %2F, "
            "@ as %40, : as %3A, ? as %3F, # as %23 and % as %25."
        )
    if uri.startswith(DATABASES):
        _reach(uri)


def _is_read_as_meant(uri: str) -> bool:
    """Whether the libraries take for the host what is the host, and no part of a password."""
    try:
        if uri.startswith(("http:", "https:")):
            return urlsplit(uri).hostname == host_of(uri)
        host = sqlalchemy.make_url(uri).host if uri.startswith(DATABASES) else None
        return not host or host.lower() == host_of(uri)
    except (ArgumentError, ValueError):
        return False


def _reach(uri: str) -> None:
    try:
        engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
    except ModuleNotFoundError as error:
        package = DRIVERS.get(str(error.name), str(error.name))
        raise UserError(
            f"{masked(uri)} needs the Python package {package}, which is not installed. Run: pip install '{package}'"
        ) from None
    with engine.connect():
        pass


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite address, e.g. `sqlite:///relative.db`, `sqlite:////absolute.db`; None if there is none."""
    if not uri.startswith("sqlite"):
        return None
    with contextlib.suppress(ArgumentError):
        name = sqlalchemy.make_url(uri).database
        if name and name != ":memory:":
            return Path(name.removeprefix("file:")).resolve()
    return None


def taking_turns(uri: str, what: str) -> AbstractContextManager[object]:
    """Let one process of this machine at a time do `what` in a SQLite store, by a lock file beside it.

    For other stores this does nothing: an MLflow server makes its tables itself, before it answers, and its database
    decides who comes first. A folder that cannot be written needs no lock.

    Raises:
        OSError: the folder cannot be made, or another process has held the lock for `LOCK_SECONDS`.
    """
    file = sqlite_file(uri)
    if file is None:
        return contextlib.nullcontext()
    file.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(file.parent, os.W_OK):
        return contextlib.nullcontext()
    return FileLock(file.with_name(f".{file.name}.{what}.lock"), timeout=LOCK_SECONDS)


def reason(error: BaseException) -> str:
    """What an error of the store says, in a line, without secrets."""
    lines = (line for line in str(error).splitlines() if line.strip() and "Query-invoked autoflush" not in line)
    return masked(next(lines, type(error).__name__))


def is_full(error: BaseException) -> bool:
    """Whether a write has failed for want of room on a disk, this machine's or the server's."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return any(said in str(error) for said in ("database or disk is full", "No space left on device", "quota exceeded"))
