"""How a process ends: with one message and an exit code, whatever stopped it."""

from __future__ import annotations

import functools
import gc
import os
import re
import signal
import socket
import sqlite3
import sys
from collections.abc import Callable

from rich.console import Console
from rich.panel import Panel

from deepdigits.core.errors import Terminated, UserError

# The driver's own words (a full disk, a lock, a read-only file), in whatever MLflow and SQLAlchemy put round them.
DATABASE_FAILED = re.compile(r"\([\w.]+\.OperationalError\) (.+)")


def exits_cleanly(main: Callable[[], None]) -> Callable[[], None]:
    """Turn the errors a user can mend into one message and a non-zero exit code.

    Exit codes: 1 for a `UserError` and for what the machine or the store denies, 130 for Ctrl-C, 143 for SIGTERM.
    Anything else is a defect of ours and keeps its traceback.
    """

    @functools.wraps(main)
    def run() -> None:
        signal.signal(signal.SIGTERM, _raise_terminated)
        gc.freeze()  # what the imports made stays to the end; to look through it there would take a second and a half
        name = _module_run()
        stage = name.startswith("pipelines.")
        go_on = ": no output is complete. Run `dvc repro` to go on." if stage else "."
        try:
            main()
        except UserError as error:
            _say(str(error) + _way_back(), name)
            sys.exit(1)
        except KeyboardInterrupt:
            _say(f"Interrupted{go_on}{_way_back()}", name)
            sys.exit(130)
        except Terminated:
            _say(f"Stopped by SIGTERM{go_on}{_way_back()}", name)
            sys.exit(143)
        except Exception as error:
            told = _told(error)
            if told is None:
                raise
            _say(f"{told} Fix that, then run {'`dvc repro`' if stage else 'the command'} again.{_way_back()}", name)
            sys.exit(1)

    return run


def _module_run() -> str:
    """The module that this process was started with, `python -m MODULE`; empty if it was started otherwise."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name.removesuffix(".__main__") if spec else ""


def _way_back() -> str:
    """How to restore what DVC removed before it ran this stage; nothing where DVC does not run it."""
    stage = os.environ.get("DVC_STAGE")
    if not stage:
        return ""
    return f"\nTo restore this stage's earlier outputs: dvc checkout {stage}; its metrics: git checkout reports/metrics"


def _told(error: Exception) -> str | None:
    """What the machine or the store denied us, in a sentence; None if `error` is no such thing."""
    if isinstance(error, sqlite3.OperationalError):
        return f"The database of the MLflow store failed: {error}."
    if said := DATABASE_FAILED.search(str(error)):
        return f"The database of the MLflow store failed: {said[1]}."
    if isinstance(error, socket.gaierror):
        return f"The host that was named cannot be used: {error.strerror or error}."
    if not isinstance(error, OSError) or error.errno is None:
        return None
    name = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
    return f"{error.strerror or os.strerror(error.errno)}{f' ({name})' if name else ''}."


def _raise_terminated(_signal: int, _frame: object) -> None:
    raise Terminated


def _say(message: str, name: str) -> None:
    console = Console(stderr=True, highlight=False)
    heading = f"{name.removeprefix('pipelines.')} stopped" if name else "stopped"
    console.print(Panel(message, title=heading, border_style="red", title_align="left"), markup=False)
