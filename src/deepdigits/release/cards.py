"""Model cards (Mitchell et al., 2019, arXiv:1810.03993) in Markdown, rendered from manifest and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deepdigits.core.templates import render
from deepdigits.tasks.contract import Rows, Task


def model_card(
    task: Task,
    manifest: Mapping[str, Any],
    description: Mapping[str, Any],
    metrics: Mapping[str, Any],
    gates: Sequence[Mapping[str, Any]],
) -> str:
    """Render tasks/NAME/card.md.j2.

    Args:
        manifest: the manifest of the task's data.
        description: the contents of models/NAME/model.json.
        metrics: the flat metrics of the model's training and evaluation.
        gates: the result of `deepdigits.release.floors.check_floors`.
    """
    return render(
        f"tasks/{task.name}/card.md.j2",
        model=task.name,
        figures=figure_rows(task, metrics),
        manifest=manifest,
        config=description["config"],
        weights_sha256=metrics[f"{task.name}.weights_sha256"],
        gates=gates,
    )


def figure_rows(task: Task, metrics: Mapping[str, Any]) -> Rows:
    """The measures of a model and their values, as the card and the report show them."""
    prefix = f"{task.name}."
    return task.figures({key.removeprefix(prefix): value for key, value in metrics.items() if key.startswith(prefix)})
