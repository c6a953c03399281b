"""Tells whether a decision is still in progress: by its process on this machine, by its heartbeats on another one.

Clocks of two machines are never compared. A waiting process watches for a heartbeat by its own clock.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import psutil
from mlflow import MlflowClient
from mlflow.entities import Run
from rich.console import Console

from deepdigits.core.errors import UserError
from deepdigits.ops.processes import State, process_identity, state
from deepdigits.ops.tracking import STORE_ERRORS

PROCESS_TAG, HEARTBEAT_TAG = "process", "registry.heartbeat"
BEAT_SECONDS = 5.0
LEASE_SECONDS = 30.0  # after this long without a heartbeat, a decision on another machine counts as interrupted
POLL_SECONDS = 1.0


def signs_of_life() -> dict[str, str]:
    """The tags of a decision that this process carries out: its identity and a heartbeat."""
    return {PROCESS_TAG: process_identity(), HEARTBEAT_TAG: datetime.now(UTC).isoformat()}


@contextlib.contextmanager
def held(client: MlflowClient, run_id: str) -> Iterator[None]:
    """Send heartbeats while a decision is carried out."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(BEAT_SECONDS):
            with contextlib.suppress(*STORE_ERRORS):
                client.set_tag(run_id, HEARTBEAT_TAG, signs_of_life()[HEARTBEAT_TAG])

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def holder(run: Run) -> State:
    """Whether the process carrying out the decision still runs. What this very process left behind counts as gone."""
    identity = run.data.tags.get(PROCESS_TAG, "")
    host, _, pid = identity.partition(":")
    if identity in (process_identity(), ":".join(process_identity().split(":")[:2])):
        return "gone"
    found = state(identity)
    if found == "unknown" and host == socket.gethostname() and pid.isdecimal():
        # The format of earlier releases. The process with this pid is the right one if it started before the decision.
        with contextlib.suppress(psutil.Error, OSError, OverflowError):
            return "alive" if psutil.Process(int(pid)).create_time() * 1000 <= run.info.start_time else "gone"
    return found


def cut_off(client: MlflowClient, run: Run, what: str) -> bool:
    """Wait until a decision has ended (False) or is known to be interrupted (True).

    Raises:
        UserError: it is still in progress after `LEASE_SECONDS`.
    """
    first, began = run.data.tags.get(HEARTBEAT_TAG), time.monotonic()
    while run.info.status == "RUNNING":
        found = holder(run)
        waited = time.monotonic() - began
        if found == "gone":
            return True
        if waited >= LEASE_SECONDS:
            if found == "unknown" and run.data.tags.get(HEARTBEAT_TAG) == first:
                return True
            raise UserError(f"{_who(run)} is still working on a decision ({what}). Try again when it is done.")
        if waited < POLL_SECONDS:
            Console(stderr=True, highlight=False).print(
                f"{_who(run)} may still be working on a decision ({what}). Waiting up to {LEASE_SECONDS:.0f} s.",
                markup=False,
            )
        time.sleep(POLL_SECONDS)
        run = client.get_run(run.info.run_id)
    return False


def _who(run: Run) -> str:
    host, _, rest = run.data.tags.get(PROCESS_TAG, "").partition(":")
    where = "" if host == socket.gethostname() else f" on {host or 'an unknown host'}"
    return f"Process {rest.partition(':')[0] or 'unknown'}{where}"
