"""Runs a training where it is asked for: in one process or several, on this machine, on SLURM's or on Ray's nodes.

How many processes there are changes no byte; `compute.shards` in params.yaml does, and must be a multiple of it.
"""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from deepdigits.core.errors import UserError
from deepdigits.ops.exit import module_run
from deepdigits.ops.workers import LOST, Process, on_ray, start

PROCESSES, NODES = "PROCESSES", "NODES"  # how many processes share each training; one on each of how many nodes
STORE, RANK = "DEEPDIGITS_STORE", "DEEPDIGITS_RANK"  # set for the processes that the first one starts
PATIENCE = timedelta(minutes=10)  # for a slow start, and for one process that waits for the MLflow store
FAREWELL_SECONDS = 30


def shares_training(main: Callable[[], None]) -> Callable[[], None]:
    """Run the stage `main` where and in as many processes as the environment asks for: ENGINE, PROCESSES, NODES."""

    @functools.wraps(main)
    def run() -> None:
        if os.environ.get(STORE):
            with _errors_left_to_the_first():
                _join_first()
                main()
        elif os.environ.get("TORCHELASTIC_RUN_ID"):
            _join_torchrun()
            main()
        elif count := _wanted():
            with _helpers(count):
                main()
        elif on_ray():
            _run_on_ray()
        else:
            main()

    return run


def _run_on_ray() -> None:
    """Run this stage on a node of the Ray cluster, and end like it."""
    stage = start(_this_stage(), Path.cwd(), os.environ)
    try:
        code = stage.wait()
    except BaseException:
        stage.terminate()
        raise
    if code == LOST:
        raise UserError("The node of the Ray cluster that ran this stage is gone. Run `dvc repro` to resume elsewhere.")
    sys.exit(code)


def _this_stage() -> list[str]:
    return [sys.executable, "-m", module_run(), *sys.argv[1:]]


def _wanted() -> int:
    """How many processes this one is to share its training with, itself included; 0 for none.

    Raises:
        UserError: PROCESSES or NODES is not a whole number above 0, or both are set.
    """
    found = {name: os.environ[name] for name in (PROCESSES, NODES) if os.environ.get(name)}
    for name, value in found.items():
        if not value.isdecimal() or int(value) < 1:
            raise UserError(f"{name} must be a whole number of at least 1, not {value!r}.")
    if len(found) == 2:
        raise UserError(f"Set {PROCESSES} for this machine or {NODES} for a SLURM job, not both.")
    count = int(next(iter(found.values()), "1"))
    return count if count > 1 else 0


@contextmanager
def _helpers(count: int) -> Iterator[None]:
    """Start `count - 1` more processes of this stage, which join this one, and stop them when the body ends."""
    from torch import distributed  # takes more than a second, which other stages need not spend
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    on_nodes = bool(os.environ.get(NODES))
    elsewhere = on_nodes or on_ray()
    host = socket.gethostname() if elsewhere else "127.0.0.1"  # a name, which each node resolves in its own way
    listen = "0.0.0.0" if elsewhere else host
    store = TCPStore(listen, 0, is_master=True, wait_for_workers=False, timeout=PATIENCE)
    environment = {**os.environ, STORE: f"{host}:{store.port}:{count}"}
    helpers = [start(command, Path.cwd(), {**environment, **extra}) for command, extra in _commands(count, on_nodes)]
    try:
        _await(helpers, store, count)
        distributed.init_process_group(store=store, rank=0, world_size=count, timeout=PATIENCE)
        yield
    except RuntimeError as error:
        # Gloo and NCCL report a closed connection in many words. Whatever it is, a lost process explains it.
        if any(helper.poll() for helper in helpers):
            raise UserError(
                f"A process that shares this training has ended: {str(error).splitlines()[0]} See its messages above. "
                "Run `dvc repro` to resume."
            ) from None
        raise
    finally:
        for helper in helpers:
            _dismiss(helper)
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _commands(count: int, on_nodes: bool) -> list[tuple[Sequence[str], Mapping[str, str]]]:
    """The commands that start the other processes, and what each adds to the environment."""
    if not on_nodes:
        return [(_this_stage(), {RANK: str(rank), **_own_gpu(rank)}) for rank in range(1, count)]
    if not os.environ.get("SLURM_JOB_ID"):
        raise UserError(f"{NODES}={count} needs a SLURM job with as many nodes, see deploy/slurm.sh.")
    others = str(count - 1)
    # This process runs on the job's first node. The step's process number, from 0, gives the rank.
    srun = ["srun", "--nodes", others, "--ntasks", others, "--ntasks-per-node=1", "--relative=1", "--kill-on-bad-exit"]
    return [([*srun, *_this_stage()], {})]


def _own_gpu(rank: int) -> dict[str, str]:
    """One of the visible GPUs for each process of this machine."""
    visible = [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
    return {"CUDA_VISIBLE_DEVICES": visible[rank % len(visible)]} if visible else {}


def _await(helpers: Sequence[Process], store: Any, count: int) -> None:
    """Wait until all processes have reported, or one has ended before."""
    reported = [f"joined/{rank}" for rank in range(1, count)]
    begun = time.monotonic()
    while not store.check(reported):
        if codes := [code for helper in helpers if (code := helper.poll()) is not None]:
            raise UserError(
                f"A process that was to share this training ended at its start, with exit code {codes[0]}. See its "
                "messages above."
            )
        if time.monotonic() - begun > PATIENCE.total_seconds():
            raise UserError(f"Not all of the {count} processes have started within {PATIENCE}.")
        time.sleep(0.05)


def _dismiss(helper: Process) -> None:
    """Wait for a process that is about to end, and stop one that is not."""
    try:
        helper.wait(FAREWELL_SECONDS if sys.exc_info()[0] is None else 0.5)
    except subprocess.TimeoutExpired:
        helper.terminate()
        try:
            helper.wait(FAREWELL_SECONDS)
        except subprocess.TimeoutExpired:
            helper.kill()


def _join_first() -> None:
    from torch import distributed
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    host, port, count = os.environ[STORE].rsplit(":", 2)
    rank = int(os.environ.get(RANK) or 1 + int(os.environ["SLURM_PROCID"]))
    store = TCPStore(host, int(port), is_master=False, timeout=PATIENCE)
    store.set(f"joined/{rank}", "")
    distributed.init_process_group(store=store, rank=rank, world_size=int(count), timeout=PATIENCE)


def _join_torchrun() -> None:
    from torch import distributed

    os.environ.update(_own_gpu(int(os.environ["LOCAL_RANK"])))
    distributed.init_process_group(timeout=PATIENCE)


@contextmanager
def _errors_left_to_the_first() -> Iterator[None]:
    """End quietly where the first process fails, too, and reports it: on a user's mistake, or because it has ended."""
    from torch import distributed

    try:
        yield
    except (UserError, distributed.DistError):
        sys.exit(1)
    except RuntimeError as error:
        if "gloo" in str(error).lower():
            sys.exit(1)
        raise
