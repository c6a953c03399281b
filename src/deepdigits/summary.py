"""The screen at the end of `make repro`: what was trained, how good it is, which version was registered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table

from deepdigits import paths
from deepdigits.data.splits import SPLITS
from deepdigits.files import read_json
from deepdigits.registry import Registered


def summary_panel(registered: Sequence[Registered], profile: str) -> RenderableType:
    """Read the metrics and render them beside the registered versions.

    Raises:
        UserError: the pipeline has not been run.
    """
    metrics = read_json(paths.METRICS / "evaluate.json") | read_json(paths.METRICS / "train_gan.json")
    manifest = read_json(paths.MANIFEST)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("model", "on the test images", "registered as"):
        table.add_column(heading)
    for item in registered:
        model = item.name.removeprefix(f"{manifest['name']}-")
        aliases = "".join(f" @{alias}" for alias in item.aliases)
        table.add_row(model, _figures(model, metrics), f"{item.name} version {item.version}{aliases}")
    counts = ", ".join(f"{manifest['splits'][name]['count']:,} {name}" for name in SPLITS)
    lines: list[RenderableType] = [f"{manifest['title']}: {counts}", "", table, ""]
    lines.append(f"Report: {paths.REPORT}   Data validation: {paths.DATA_DOCS}/index.html   Look at the runs: make ui")
    note = "" if profile == "default" else f", profile {profile}: a quick trial"
    return Panel(
        Group(*lines), title=f"deepdigits on {manifest['name']}{note}", title_align="left", border_style="green"
    )


def _figures(model: str, metrics: dict[str, Any]) -> str:
    if model == "gan":
        return (
            f"FID {metrics['gan.fid']:.3f} (real against real {metrics['gan.fid_floor']:.3f}), "
            f"coverage {metrics['gan.coverage']:.3f}, right digit {metrics['gan.class_accuracy']:.2%}, "
            f"stopped by {metrics['gan.stopped_by']}"
        )
    prefix = f"{model}.test."
    low, high = metrics[f"{prefix}accuracy_low"], metrics[f"{prefix}accuracy_high"]
    return f"accuracy {metrics[f'{prefix}accuracy']:.2%} (95 % interval {low:.2%} to {high:.2%})"
