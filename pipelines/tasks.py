"""The task that a stage is run for; each stage depends on its own alone."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from deepdigits.core.errors import UserError

if TYPE_CHECKING:
    from deepdigits.tasks.contract import Task
    from deepdigits.tasks.evaluation import Evaluation


def task_named(*names: str) -> Task:
    """What packages and reports the one task named; see `_named`."""
    found: Task = _named(names, "task", "TASK")
    return found


def evaluation_named(*names: str) -> Evaluation:
    """How the one task named is evaluated; see `_named`."""
    found: Evaluation = _named(names, "evaluation", "EVALUATION")
    return found


def _named(names: tuple[str, ...], module: str, attribute: str) -> Any:
    """What deepdigits/tasks/NAME/MODULE.py says.

    Raises:
        UserError: there is no such task, or not one name was given.
    """
    name = names[0] if len(names) == 1 else ""
    try:
        return getattr(importlib.import_module(f"deepdigits.tasks.{name}.{module}"), attribute)
    except ModuleNotFoundError as error:
        if not str(error.name).startswith("deepdigits.tasks"):
            raise
        given = " ".join(names) or "nothing"
        raise UserError(f"Give the name of one task, e.g. cnn, not {given}.") from None
