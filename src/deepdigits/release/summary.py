"""The panel at the end of `make repro`: what was trained, how good it is, and which version was registered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from deepdigits.core import paths
from deepdigits.core.errors import UserError
from deepdigits.core.files import read_json
from deepdigits.core.measures import measures_of, weights_file
from deepdigits.data.digits.manifest import validated_manifest
from deepdigits.data.digits.splits import SPLITS
from deepdigits.release.floors import check_floors, floors_of, missed_floors
from deepdigits.release.packaged import check_figures, read_packaged
from deepdigits.release.registry import Registered, register
from deepdigits.tasks.catalogue import TASKS
from deepdigits.tasks.contract import Task

Refused = Mapping[str, Sequence[str]]  # the floors that each refused model misses


def register_all(profile: str) -> tuple[list[Registered], Refused]:
    """Register the models trained here that are not in the registry yet; leave out models below a floor.

    All models are read before the first is registered. If any outputs do not belong together, nothing is registered.

    Raises:
        UserError: no model has been trained yet, or files are missing, corrupt or do not belong together.
    """
    floors = floors_of(read_json(paths.MANIFEST)["name"])
    refused, packaged = {}, []
    for task in _trained():
        validated_manifest(task.data.manifest, task.data.verdict)
        check_figures(task)
        measures = measures_of(task.name, read_json(paths.evaluation_file(task.name)))
        if missed := missed_floors(check_floors(task, measures, floors)):
            refused[task.name] = missed
        else:
            packaged.append(read_packaged(task, profile))
    return [register(one) for one in packaged], refused


def _trained() -> list[Task]:
    """The tasks whose weights exist here. `make repro` alone trains no model for scenes or handwriting."""
    trained = [task for task in TASKS.values() if weights_file(task.name).exists()]
    if not trained:
        raise UserError(f"No model has been trained here: {paths.MODELS}/ has no weights. Run: make repro")
    return trained


def summary_panel(registered: Sequence[Registered], refused: Refused, profile: str) -> RenderableType:
    """Render the measures of each model next to its registered version, or next to the floors it missed."""
    manifest = read_json(paths.MANIFEST)
    floors = floors_of(manifest["name"])
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("model", "on the test images", "registered as"):
        table.add_column(heading)
    for item in registered:
        model = item.name.removeprefix(f"{manifest['name']}-")
        aliases = "".join(f" @{alias}" for alias in item.aliases)
        declared = "" if check_floors(TASKS[model], {}, floors) else " (floors: not declared)"
        table.add_row(model, _summary(model), f"{item.name} version {item.version}{aliases}{declared}")
    for model, missed in refused.items():
        table.add_row(model, _summary(model), Text(f"refused: {'; '.join(missed)}", "red"))
    counts = ", ".join(f"{manifest['splits'][name]['count']:,} {name}" for name in SPLITS)
    lines: list[RenderableType] = [f"{manifest['title']}: {counts}", "", table, ""]
    pages = {"Report": paths.REPORT, "Data validation": paths.DATA_DOCS / "index.html"}
    found = [f"{name}: {page}" for name, page in pages.items() if page.exists()]
    lines.append("   ".join([*found, "Browse the runs: make ui"]))
    note = "" if profile == "default" else f", profile {profile}: a quick trial"
    return Panel(
        Group(*lines),
        title=f"deepdigits on {manifest['name']}{note}",
        title_align="left",
        border_style="red" if refused else "green",
    )


def _summary(model: str) -> str:
    measures = measures_of(model, read_json(paths.evaluation_file(model)))
    return TASKS[model].evaluation.summary(measures)
