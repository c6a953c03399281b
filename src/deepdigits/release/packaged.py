"""What the pipeline has packaged: described by its stage, read back and checked before anything is registered."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from deepdigits.core import paths
from deepdigits.core.errors import UserError
from deepdigits.core.files import read_json
from deepdigits.core.measures import test_measures, weights_file, weights_named
from deepdigits.ops.tracking import DatasetIdentity
from deepdigits.release.identity import write_contents
from deepdigits.release.registry import Packaged, Registered, register
from deepdigits.tasks.catalogue import TASKS
from deepdigits.tasks.contract import Task


def register_all(names: Iterable[str], profile: str) -> list[Registered]:
    """Register the packaged models that the registry does not have yet; see `deepdigits.release.registry.register`.

    All are read before the first is registered: of outputs that do not belong together, nothing is.
    """
    return [register(packaged) for packaged in [read_packaged(TASKS[name], profile) for name in names]]


def read_metrics() -> dict[str, Any]:
    """The metrics of every train and evaluate stage, flat. What they say of their data is in the manifests."""
    names = [f"train_{name}" for name in TASKS] + sorted({task.metrics for task in TASKS.values()})
    found = {key: value for name in names for key, value in read_json(paths.METRICS / f"{name}.json").items()}
    return {key: value for key, value in found.items() if not key.startswith("dataset.")}


def read_packaged(task: Task, profile: str) -> Packaged:
    """Collect one packaged model from models/NAME and reports/.

    Raises:
        UserError: a file is missing or damaged, or weights, package and figures are of different trainings.
    """
    directory = paths.MODELS / task.name
    check_figures(task)
    with (paths.PLOTS / f"train_{task.name}.csv").open(encoding="utf-8", newline="") as file:
        history = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    packaged = Packaged(
        task=task,
        directory=directory,
        code=code_of(task).parent,
        dataset=DatasetIdentity.of(read_json(task.data.manifest)),
        history=history,
        description=read_json(directory / "model.json"),
        profile=profile,
    )
    packaged.check()
    if measured(task) != (packaged.contents.measures, packaged.contents.judged_by):
        raise UserError(
            f"{figures_file(task)} has other figures than {task.name} was packaged with. Nothing was registered. "
            "Run: dvc repro"
        )
    return packaged


def describe_package(task: Task) -> None:
    """Write package.json of a model, once its other files are there."""
    write_contents(paths.MODELS / task.name, code_of(task), check_figures(task), *measured(task))


def check_figures(task: Task) -> str:
    """The SHA-256 of a model's weights, once its figures are known to be of these, judged by the models that are here.

    Raises:
        UserError: the figures are of other weights.
    """
    figures, named = figures_of(task), weights_named(task.name, task.judges)
    for (key, here), model in zip(named.items(), (task.name, *task.judges), strict=True):
        if figures.get(key) != here:
            raise UserError(
                f"{figures_file(task)} is not about these weights: {key} is {str(figures.get(key))[:12]}, and "
                f"{weights_file(model)} is {here[:12]}. Nothing was registered. Run: dvc repro"
            )
    return named[f"{task.name}.weights_sha256"]


def measured(task: Task) -> tuple[dict[str, float], dict[str, str]]:
    """The figures of a model's evaluation, and by which models' weights they were judged."""
    figures = figures_of(task)
    return test_measures(task.name, figures), {
        judge: figures[f"{task.name}.judged_by.{judge}"] for judge in task.judges
    }


def figures_of(task: Task) -> dict[str, Any]:
    return dict(read_json(figures_file(task)))


def figures_file(task: Task) -> Path:
    return paths.METRICS / f"{task.metrics}.json"


def code_of(task: Task) -> Path:
    """The file that MLflow serves the model by."""
    return Path(task.interface.code)
