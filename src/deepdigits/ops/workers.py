"""Starts processes on this machine or on the nodes of a Ray cluster, behind one interface."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from deepdigits.core.errors import UserError
from deepdigits.core.loading import PARAMS_FILE, read_yaml
from deepdigits.ops.stores import sqlite_file
from deepdigits.ops.tracking import store_uri

ENGINE = "ENGINE"  # where trainings run: unset for this machine, or ray
LOST = 75  # the exit code of a process whose node is gone
POLL_SECONDS = 0.5
# Start a command that dies with the process that started it, however that ends (prctl's PR_SET_PDEATHSIG).
LEASHED = (
    sys.executable,
    "-c",
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])",
)


class Process(Protocol):
    """The part of `subprocess.Popen` that is needed here."""

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


def start(command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path | None = None) -> Process:
    """Start a process where `ENGINE` says.

    Raises:
        UserError: the engine is unknown, or the cluster cannot run the process.
    """
    if not on_ray():
        if log is None:
            return subprocess.Popen(command, cwd=folder, env=dict(environment))
        with log.open("ab") as output:
            # Ctrl-C reaches the parent alone, which then stops its children in its own way.
            return subprocess.Popen(
                [*LEASHED, *command],
                cwd=folder,
                env=dict(environment),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
    return RayProcess(command, folder, environment, log)


def on_ray() -> bool:
    engine = os.environ.get(ENGINE, "")
    if engine not in ("", "ray"):
        raise UserError(f"ENGINE must be ray, or unset for this machine; it is {engine!r}.")
    return engine == "ray"


class RayProcess:
    """A process on a node of the cluster at `RAY_ADDRESS`.

    The node must see the same files at the same paths, the environment included.
    """

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path | None):
        ray = connected()
        threads = int(read_yaml(folder / PARAMS_FILE)["compute"]["threads"])
        _check_cluster(ray, threads)
        self._ray = ray
        self._worker = ray.remote(num_cpus=threads, max_restarts=0, scheduling_strategy="SPREAD")(_Worker).remote(
            list(command), str(folder.resolve()), {**environment, ENGINE: ""}, str(log.resolve()) if log else None
        )
        self._code: int | None = None
        self._asked: Any = None

    def poll(self) -> int | None:
        if self._code is None:
            self._asked = self._asked or self._worker.poll.remote()
            ready, _ = self._ray.wait([self._asked], timeout=0.1)  # a worker may have to wait for a free node
            if ready:
                self._code, self._asked = self._answer(self._asked), None
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        end = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired("a process on a Ray node", timeout or 0)
            time.sleep(POLL_SECONDS)
        return code

    def terminate(self) -> None:
        self._worker.terminate.remote()

    def kill(self) -> None:
        self._ray.kill(self._worker)

    def _answer(self, asked: Any) -> int | None:
        try:
            answer: int | None = self._ray.get(asked)
        except self._ray.exceptions.RayActorError:
            return LOST
        except self._ray.exceptions.RayTaskError as error:
            raise UserError(str(error.cause)) from None
        return answer


class _Worker:
    """Runs on the node."""

    def __init__(self, command: list[str], folder: str, environment: dict[str, str], log: str | None):
        self.process: subprocess.Popen[bytes] | None = None
        self.fault = ""
        if not Path(folder).is_dir() or not Path(command[0]).exists():
            missing = folder if not Path(folder).is_dir() else command[0]
            self.fault = (
                f"{missing} does not exist on the Ray node {os.uname().nodename}. The clone and its .venv must lie on "
                "storage that all nodes share, at the same path."
            )
            return
        output = Path(log).open("ab") if log else None  # noqa: SIM115
        self.process = subprocess.Popen([*LEASHED, *command], cwd=folder, env=environment, stdout=output, stderr=output)

    def poll(self) -> int | None:
        if self.process is None:
            raise RuntimeError(self.fault)
        return self.process.poll()

    def terminate(self) -> None:
        if self.process:
            self.process.send_signal(signal.SIGTERM)


def connected() -> Any:
    """Ray, connected to the cluster at `RAY_ADDRESS`.

    Raises:
        UserError: Ray is not installed, or no cluster can be reached.
    """
    try:
        import ray
    except ImportError:
        raise UserError("ENGINE=ray needs Ray: pip install 'deepdigits[cluster]'") from None
    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS")
        if not address:
            raise UserError(
                "ENGINE=ray needs the address of a cluster: RAY_ADDRESS=HOST:6379, see deploy/ray-cluster.yaml."
            )
        try:
            ray.init(address=address, logging_level="error", log_to_driver=True)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UserError(
                f"The Ray cluster at {address} cannot be reached: {str(error).splitlines()[0]} Is it running, and is "
                "RAY_AUTH_TOKEN that of the cluster?"
            ) from None
    return ray


def _check_cluster(ray: Any, threads: int) -> None:
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if max((node["Resources"].get("CPU", 0) for node in nodes), default=0) < threads:
        raise UserError(f"No node of the Ray cluster has {threads} CPUs, as compute.threads asks for.")
    if sqlite_file(store_uri()) and len({node["NodeManagerAddress"] for node in nodes}) > 1:
        raise UserError(
            "The Ray cluster has several hosts, which cannot share a SQLite store. Run an MLflow server and set "
            "MLFLOW_TRACKING_URI to its address, see docs/scale.md."
        )
