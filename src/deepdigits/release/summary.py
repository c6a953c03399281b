"""The screen at the end of `make repro`: what was trained, how good it is, which version was registered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from deepdigits.core import paths
from deepdigits.core.files import read_json
from deepdigits.data.digits.splits import SPLITS
from deepdigits.release.registry import Registered
from deepdigits.tasks.catalogue import TASKS


def summary_panel(
    registered: Sequence[Registered],
    refused: Mapping[str, Sequence[str]],
    metrics: Mapping[str, Any],
    profile: str,
) -> RenderableType:
    """Render the metrics beside the registered versions, and beside what refused a model.

    Raises:
        UserError: the pipeline has not been run.
    """
    manifest = read_json(paths.MANIFEST)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("model", "on the test images", "registered as"):
        table.add_column(heading)
    for item in registered:
        model = item.name.removeprefix(f"{manifest['name']}-")
        aliases = "".join(f" @{alias}" for alias in item.aliases)
        table.add_row(model, TASKS[model].summary(metrics), f"{item.name} version {item.version}{aliases}")
    for model, floors in refused.items():
        table.add_row(model, TASKS[model].summary(metrics), Text(f"refused: {'; '.join(floors)}", "red"))
    counts = ", ".join(f"{manifest['splits'][name]['count']:,} {name}" for name in SPLITS)
    lines: list[RenderableType] = [f"{manifest['title']}: {counts}", "", table, ""]
    lines.append(f"Report: {paths.REPORT}   Data validation: {paths.DATA_DOCS}/index.html   Look at the runs: make ui")
    note = "" if profile == "default" else f", profile {profile}: a quick trial"
    return Panel(
        Group(*lines),
        title=f"deepdigits on {manifest['name']}{note}",
        title_align="left",
        border_style="red" if refused else "green",
    )
