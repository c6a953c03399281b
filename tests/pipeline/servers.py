"""Real servers on loopback: MLflow, and PostgreSQL as its backend."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

# MLflow's defaults plus a cache: hashing a password takes a third of a second, and tests send hundreds of requests.
AUTH = """[mlflow]
default_permission = READ
database_uri = sqlite:///{folder}/auth.db
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
grant_default_workspace_access = false
auth_cache_ttl_seconds = 60
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen[bytes], seconds: float = 300) -> None:
    """Wait until something answers, even with an error."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            assert process.poll() is None, f"the server at {url} ended with exit code {process.returncode}"
            assert time.monotonic() < deadline, f"{url} did not answer"
            time.sleep(0.3)


@contextlib.contextmanager
def running(command: list[str], url: str, env: Mapping[str, str], cwd: Path, log: Path) -> Iterator[None]:
    """Run a server in its own process group, and stop it with all its children."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=cwd, env=dict(env), start_new_session=True, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_for(url, process)
        yield
    finally:
        subprocess.run(["kill", "--", f"-{process.pid}"], check=False, capture_output=True)
        process.wait(30)


@contextlib.contextmanager
def mlflow_server(
    folder: Path, store: str, env: Mapping[str, str], password: str | None = None, artifacts: str | None = None
) -> Iterator[str]:
    """Run an MLflow server that passes artifacts on, to `artifacts` or to a folder of its own.

    With `password`, user `admin` must log in with it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", store, "--artifacts-destination", artifacts or str(folder / "artifacts")]
    server_env = {**env, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    server_env.pop("MLFLOW_TRACKING_URI", None)
    if password:
        command += ["--app-name", "basic-auth"]
        server_env |= {"MLFLOW_AUTH_ADMIN_PASSWORD": password, "MLFLOW_FLASK_SERVER_SECRET_KEY": "for this test"}
        server_env["MLFLOW_AUTH_CONFIG_PATH"] = str(folder / "auth.ini")
        (folder / "auth.ini").write_text(AUTH.format(folder=folder))
    with running(command, f"http://127.0.0.1:{port}/health", server_env, folder, folder / "server.log"):
        yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def object_store(bucket: str) -> Iterator[dict[str, str]]:
    """Run an S3 server (moto) that has `bucket`, and yield the environment in which clients find it."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    login = {"AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    env = {**login, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    try:
        request = urllib.request.Request(f"http://{host}:{port}/{bucket}", method="PUT")
        urllib.request.urlopen(request, timeout=60).close()
        yield env
    finally:
        server.stop()


@contextlib.contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """Run a PostgreSQL server for this test alone and yield its SQLAlchemy address.

    Installs it from Debian's packages if possible; otherwise the test is skipped.
    """
    programs = _postgresql_programs()
    if programs is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "-qq", "postgresql"], check=False, capture_output=True)
        programs = _postgresql_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed, and could not be installed with apt-get as root")
    folder.mkdir(parents=True)
    as_postgres: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        shutil.chown(folder, "postgres")
        for parent in folder.parents:
            if parent.stat().st_uid == 0 and parent != Path("/") and parent != Path("/tmp"):
                parent.chmod(parent.stat().st_mode | 0o011)
    port, data = free_port(), folder / "data"
    subprocess.run(
        [*as_postgres, programs / "initdb", "--pgdata", data, "--auth", "trust", "--username", "mlflow", "--no-sync"],
        check=True, capture_output=True,
    )  # fmt: skip
    server = subprocess.Popen(
        [*as_postgres, programs / "postgres", "-D", data, "-p", str(port), "-k", "", "-h", "127.0.0.1"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        ready = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        while subprocess.run(ready, check=False).returncode:
            assert server.poll() is None, "PostgreSQL did not start"
            assert time.monotonic() < deadline, "PostgreSQL did not answer"
            time.sleep(0.2)
        yield f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/postgres"
    finally:
        server.terminate()
        server.wait(30)


def _postgresql_programs() -> Path | None:
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if installed:
        return installed[-1].parent
    initdb = shutil.which("initdb")
    return Path(initdb).parent if initdb else None
