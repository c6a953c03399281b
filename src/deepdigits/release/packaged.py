"""One packaged model: described by its stage, read back and checked before it is registered."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from deepdigits.core import paths
from deepdigits.core.errors import UserError
from deepdigits.core.files import read_json
from deepdigits.core.measures import logged, measures_of, weights_file, weights_named
from deepdigits.ops.tracking import DatasetIdentity
from deepdigits.release.identity import write_contents
from deepdigits.release.registry import Packaged
from deepdigits.tasks.contract import Task


def read_metrics(task: Task) -> dict[str, Any]:
    """The metrics of a model's training and evaluation, flat."""
    return read_json(paths.training_file(task.name)) | read_json(paths.evaluation_file(task.name))  # type: ignore[no-any-return]


def read_packaged(task: Task, profile: str) -> Packaged:
    """Collect one packaged model from models/NAME and reports/.

    Raises:
        UserError: a file is missing or damaged, or weights, package, figures and data do not belong together.
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
            f"{paths.evaluation_file(task.name)} has other figures than {task.name} was packaged with. Nothing was "
            "registered. Run: dvc repro"
        )
    return packaged


def describe_package(task: Task) -> None:
    """Write package.json of a model, once its other files are there."""
    write_contents(paths.MODELS / task.name, code_of(task), check_figures(task), *measured(task))


def check_figures(task: Task) -> str:
    """The SHA-256 of a model's weights, once its figures are known to be of these, of the data that are here, and
    judged by the models that are here.

    Raises:
        UserError: the figures are of something else.
    """
    file = paths.evaluation_file(task.name)
    figures, manifest, named = read_json(file), read_json(task.data.manifest), weights_named(task.name, task.judges)
    if figures.get("dataset.sha256") != manifest["sha256"]:
        raise UserError(
            f"{file} is about other data than {task.data.manifest} describes. Nothing was registered. Run: dvc repro"
        )
    for (key, here), model in zip(named.items(), (task.name, *task.judges), strict=True):
        if figures.get(key) != here:
            raise UserError(
                f"{file} is not about these weights: {key} is {str(figures.get(key))[:12]}, and {weights_file(model)} "
                f"is {here[:12]}. Nothing was registered. Run: dvc repro"
            )
    return named[f"{task.name}.weights_sha256"]


def measured(task: Task) -> tuple[dict[str, float], dict[str, str]]:
    """The figures of a model's evaluation, and by which models' weights they were judged."""
    figures = read_json(paths.evaluation_file(task.name))
    return logged(measures_of(task.name, figures)), {
        judge: figures[f"{task.name}.judged_by.{judge}"] for judge in task.judges
    }


def code_of(task: Task) -> Path:
    """The file that MLflow serves the model by."""
    return Path(task.interface.code)
