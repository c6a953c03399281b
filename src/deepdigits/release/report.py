"""The report page of a pipeline: one place that shows or links everything a reviewer needs to decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepdigits.core import paths
from deepdigits.core.templates import render
from deepdigits.release.cards import figure_rows
from deepdigits.release.floors import Gates
from deepdigits.tasks.contract import Rows, Task


@dataclass(frozen=True)
class Section:
    """One task on the page: measures with values, and pictures (paths relative to the page) with captions."""

    name: str
    title: str
    rows: Rows
    pictures: Sequence[tuple[str, str]]


def section(task: Task, metrics: Mapping[str, Any]) -> Section:
    """Build the section of a task from the `metrics` of its training and evaluation."""
    figures = paths.figures_of(task.name).relative_to(paths.REPORTS).as_posix()
    pictures = [(f"{figures}/{name}", caption) for name, caption in task.pictures.items()]
    return Section(task.name, task.title, figure_rows(task, metrics), pictures)


def report_page(
    title: str,
    dataset: str,
    manifest: Mapping[str, Any],
    verdict: Mapping[str, Any],
    docs: str,
    sections: Sequence[Section],
    gates: Gates,
    comparison: Mapping[str, Any] | None,
    profile: str,
) -> str:
    """Render report.html.j2.

    Args:
        dataset: its name.
        manifest, verdict: those of the data that the models were trained on.
        docs: the folder of the page that shows this verdict, relative to the report.
        gates: the results of `deepdigits.release.floors.check_floors` for all tasks.
        comparison: the contents of reports/metrics/compare.json, if the page shows them.
        profile: the profile in params.yaml.
    """
    return render(
        "release/report.html.j2",
        title=title,
        dataset=dataset,
        manifest=manifest,
        verdict=verdict,
        docs=docs,
        sections=sections,
        gates=gates,
        comparison=comparison,
        profile=profile,
    )
