"""Look up the task a stage runs for. Only that task is imported, so a stage does not depend on the other tasks."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from deepdigits.core.errors import UserError

if TYPE_CHECKING:
    from deepdigits.tasks.contract import Task
    from deepdigits.tasks.evaluation import Evaluation


def task_named(*names: str) -> Task:
    """The `Task` for a name, used to package and report it; see `_named`."""
    found: Task = _named(names, "task", "TASK")
    return found


def evaluation_named(*names: str) -> Evaluation:
    """The `Evaluation` for a task name; see `_named`."""
    found: Evaluation = _named(names, "evaluation", "EVALUATION")
    return found


def _named(names: tuple[str, ...], module: str, attribute: str) -> Any:
    """Load an attribute of deepdigits/tasks/NAME/MODULE.py.

    Raises:
        UserError: there is no such task, or `names` is not exactly one name.
    """
    name = names[0] if len(names) == 1 else ""
    try:
        return getattr(importlib.import_module(f"deepdigits.tasks.{name}.{module}"), attribute)
    except ModuleNotFoundError as error:
        if not str(error.name).startswith("deepdigits.tasks"):
            raise
        given = " ".join(names) or "nothing"
        raise UserError(f"Expected the name of one task, e.g. cnn; got {given}.") from None
