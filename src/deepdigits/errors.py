"""The one error that a user can mend, and how a process ends with it."""

from __future__ import annotations

import functools
import gc
import os
import signal
import sys
from collections.abc import Callable

from rich.console import Console
from rich.panel import Panel


class UserError(Exception):
    """Bad input, data or environment. The message says what, where and what to do next."""


class Terminated(Exception):
    """The process was asked to stop (SIGTERM) before its work was complete."""


def exits_cleanly(main: Callable[[], None]) -> Callable[[], None]:
    """Turn the errors a user can mend into one message and a non-zero exit code.

    Exit codes: 1 for a `UserError`, 130 for Ctrl-C, 143 for SIGTERM. Anything else is a defect
    of ours and keeps its traceback.
    """

    @functools.wraps(main)
    def run() -> None:
        signal.signal(signal.SIGTERM, _raise_terminated)
        gc.freeze()  # what the imports made stays to the end; to look through it there would take a second and a half
        try:
            main()
        except UserError as error:
            _say(str(error), title=main.__module__)
            sys.exit(1)
        except KeyboardInterrupt:
            _say("Interrupted; no output was written. Run `dvc repro` to go on.")
            sys.exit(130)
        except Terminated:
            _say("Stopped by SIGTERM; no output was written. Run `dvc repro` to go on.")
            sys.exit(143)
        except OSError as error:
            if error.errno is None or not isinstance(error.filename, str | None):
                raise
            where = f" ({error.filename})" if error.filename else ""
            _say(f"{os.strerror(error.errno)}{where}. Mend that and run `dvc repro` again.")
            sys.exit(1)

    return run


def _raise_terminated(_signal: int, _frame: object) -> None:
    raise Terminated


def _say(message: str, title: str = "") -> None:
    console = Console(stderr=True, highlight=False)
    heading = "stopped" if title in ("", "__main__") else f"{title} stopped"
    console.print(Panel(message, title=heading, border_style="red", title_align="left"), markup=False)
