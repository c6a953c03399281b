"""Process exit: one message and an exit code, whatever stopped the process."""

from __future__ import annotations

import functools
import gc
import os
import re
import signal
import socket
import sqlite3
import sys
import warnings
from collections.abc import Callable

from rich.console import Console
from rich.panel import Panel

from deepdigits.core.errors import Terminated, UserError

# Extracts the driver's message (a full disk, a lock, a read-only file) from what MLflow and SQLAlchemy wrap around it.
DATABASE_FAILED = re.compile(r"\([\w.]+\.OperationalError\) (.+)")


def exits_cleanly(main: Callable[[], None]) -> Callable[[], None]:
    """Turn errors that a user can fix into one message and a non-zero exit code.

    Exit codes: 1 for a `UserError` and for a failure of the machine or the store, 130 for Ctrl-C, 143 for SIGTERM.
    Anything else is a bug in this project and keeps its traceback.
    """

    @functools.wraps(main)
    def run() -> None:
        signal.signal(signal.SIGTERM, _raise_terminated)
        # Lightning advises to start it by srun where that exists, and to let it average what is the same everywhere.
        for advice in ("The `srun` command is available", "It is recommended to use `self.log"):
            warnings.filterwarnings("ignore", message=advice)
        gc.freeze()  # imported objects live until exit, where scanning them would take a second and a half
        name = module_run()
        stage = name.startswith("pipelines.")
        resume_hint = ": no output is complete. Run `dvc repro` to resume." if stage else "."
        try:
            main()
        except UserError as error:
            _print_panel(str(error) + _restore_hint(), name)
            sys.exit(1)
        except KeyboardInterrupt:
            _print_panel(f"Interrupted{resume_hint}{_restore_hint()}", name)
            sys.exit(130)
        except Terminated:
            _print_panel(f"Stopped by SIGTERM{resume_hint}{_restore_hint()}", name)
            sys.exit(143)
        except Exception as error:
            failure = _external_failure(error)
            if failure is None:
                raise
            command = "`dvc repro`" if stage else "the command"
            _print_panel(f"{failure} Fix that, then run {command} again.{_restore_hint()}", name)
            sys.exit(1)

    return run


def module_run() -> str:
    """The MODULE of `python -m MODULE`; empty if this process was started another way."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name.removesuffix(".__main__") if spec else ""


def _restore_hint() -> str:
    """How to restore what DVC removed before it ran this stage; empty if DVC is not running it."""
    stage = os.environ.get("DVC_STAGE")
    if not stage:
        return ""
    return (
        f"\nTo restore this stage's previous outputs, run: dvc checkout {stage}; "
        "to restore its metrics, run: git checkout reports/metrics"
    )


def _external_failure(error: Exception) -> str | None:
    """One sentence about a failure of the machine or the store; None if `error` is something else."""
    if isinstance(error, sqlite3.OperationalError):
        return f"The MLflow store's database failed: {error}."
    if match := DATABASE_FAILED.search(str(error)):
        return f"The MLflow store's database failed: {match[1]}."
    if isinstance(error, socket.gaierror):
        return f"Host lookup failed: {error.strerror or error}."
    if not isinstance(error, OSError) or error.errno is None:
        return None
    name = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
    return f"{error.strerror or os.strerror(error.errno)}{f' ({name})' if name else ''}."


def _raise_terminated(_signal: int, _frame: object) -> None:
    raise Terminated


def _print_panel(message: str, name: str) -> None:
    console = Console(stderr=True, highlight=False)
    heading = f"{name.removeprefix('pipelines.')} stopped" if name else "stopped"
    console.print(Panel(message, title=heading, border_style="red", title_align="left"), markup=False)
