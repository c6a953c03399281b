"""Access to an MLflow store: address checks, locks, timeouts and error messages."""

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

# Report a dead or silent server within a minute: three attempts, with this timeout in seconds each. MLflow's defaults
# would take a quarter of an hour and hold up training for as long.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
os.environ.setdefault("PGCONNECT_TIMEOUT", "15")  # libpq's setting for every PostgreSQL connection

LOCK_SECONDS = 600  # registering seven models takes minutes on a busy machine
DATABASES = ("postgresql", "mysql", "mssql")
# Maps the driver module that SQLAlchemy imports to the package to install.
DRIVERS = {"psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}


def check_address(uri: str) -> None:
    """Reject an address that MLflow would misread, and a database that cannot be reached.

    MLflow itself tries a database ten times, for a minute and a half or more, before it reports a wrong password.

    Raises:
        UserError: the address or the registry's address is unusable, or a driver is missing.
        SQLAlchemyError: the database refuses the connection.
    """
    registry = os.environ.get("MLFLOW_REGISTRY_URI")
    if registry and registry != uri:
        raise UserError(
            f"MLFLOW_REGISTRY_URI ({masked(registry)}) is not the tracking store ({masked(uri)}). "
            "This project keeps models and runs in one store. Unset MLFLOW_REGISTRY_URI, or set MLFLOW_TRACKING_URI to "
            "the same address."
        )
    if not _is_unambiguous(uri):
        raise UserError(
            f"MLFLOW_TRACKING_URI ({masked(uri)}) is ambiguous. In its user name and password, write / as %2F, "
            "@ as %40, : as %3A, ? as %3F, # as %23 and % as %25."
        )
    if uri.startswith(DATABASES):
        _connect(uri)


def _is_unambiguous(uri: str) -> bool:
    """Whether the libraries take the real host for the host, and not part of a password."""
    try:
        if uri.startswith(("http:", "https:")):
            return urlsplit(uri).hostname == host_of(uri)
        host = sqlalchemy.make_url(uri).host if uri.startswith(DATABASES) else None
        return not host or host.lower() == host_of(uri)
    except (ArgumentError, ValueError):
        return False


def _connect(uri: str) -> None:
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
    """The file of a SQLite address, e.g. `sqlite:///relative.db` or `sqlite:////absolute.db`; None if there is none."""
    if not uri.startswith("sqlite"):
        return None
    with contextlib.suppress(ArgumentError):
        name = sqlalchemy.make_url(uri).database
        if name and name != ":memory:":
            return Path(name.removeprefix("file:")).resolve()
    return None


def taking_turns(uri: str, what: str) -> AbstractContextManager[object]:
    """Let only one process on this machine do `what` in a SQLite store at a time, using a lock file next to it.

    Does nothing for other stores: an MLflow server creates its tables itself before it responds, and its database
    resolves races. A read-only folder needs no lock.

    Raises:
        OSError: the folder cannot be created, or another process has held the lock for `LOCK_SECONDS`.
    """
    file = sqlite_file(uri)
    if file is None:
        return contextlib.nullcontext()
    file.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(file.parent, os.W_OK):
        return contextlib.nullcontext()
    return FileLock(file.with_name(f".{file.name}.{what}.lock"), timeout=LOCK_SECONDS)


def reason(error: BaseException) -> str:
    """The message of a store error, in one line and without secrets."""
    lines = (line for line in str(error).splitlines() if line.strip() and "Query-invoked autoflush" not in line)
    return masked(next(lines, type(error).__name__))


def is_full(error: BaseException) -> bool:
    """Whether a write failed because a disk is full, on this machine or on the server."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return any(text in str(error) for text in ("database or disk is full", "No space left on device", "quota exceeded"))
