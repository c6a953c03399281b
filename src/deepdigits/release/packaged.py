"""One packaged model. Its stage describes it; before registration it is read back and checked."""

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
    """The metrics of a model's training and evaluation, as one flat dict."""
    return read_json(paths.training_file(task.name)) | read_json(paths.evaluation_file(task.name))  # type: ignore[no-any-return]


def read_packaged(task: Task, profile: str) -> Packaged:
    """Read one packaged model from models/NAME and reports/.

    Raises:
        UserError: a file is missing or corrupt, or weights, package, figures and data do not belong together.
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
            f"{paths.evaluation_file(task.name)} has different figures than {task.name} was packaged with. Nothing was "
            "registered. Run: dvc repro"
        )
    return packaged


def describe_package(task: Task) -> None:
    """Write a model's package.json. Its other files must already exist."""
    write_contents(paths.MODELS / task.name, code_of(task), check_figures(task), *measured(task))


def check_figures(task: Task) -> str:
    """Check that a model's figures belong to its weights, to the data here and to the judge models here.

    Returns:
        The SHA-256 of the weights.

    Raises:
        UserError: the figures belong to something else.
    """
    file = paths.evaluation_file(task.name)
    figures, manifest, named = read_json(file), read_json(task.data.manifest), weights_named(task.name, task.judges)
    if figures.get("dataset.sha256") != manifest["sha256"]:
        raise UserError(
            f"{file} is about different data than {task.data.manifest} describes. Nothing was registered. "
            "Run: dvc repro"
        )
    for (key, here), model in zip(named.items(), (task.name, *task.judges), strict=True):
        if figures.get(key) != here:
            raise UserError(
                f"{file} is not about these weights: {key} is {str(figures.get(key))[:12]}, but {weights_file(model)} "
                f"is {here[:12]}. Nothing was registered. Run: dvc repro"
            )
    return named[f"{task.name}.weights_sha256"]


def measured(task: Task) -> tuple[dict[str, float], dict[str, str]]:
    """The figures of a model's evaluation, and the weights hash of each model that judged them."""
    figures = read_json(paths.evaluation_file(task.name))
    return logged(measures_of(task.name, figures)), {
        judge: figures[f"{task.name}.judged_by.{judge}"] for judge in task.judges
    }


def code_of(task: Task) -> Path:
    """The code file that MLflow loads to serve the model."""
    return Path(task.interface.code)
