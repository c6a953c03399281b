"""What the pipeline has packaged, read back from its files."""

from __future__ import annotations

import csv

from deepdigits import paths
from deepdigits.files import read_json
from deepdigits.measures import test_measures
from deepdigits.registry import Packaged, Registered, register
from deepdigits.tasks.catalogue import TASKS
from deepdigits.tasks.task import Task
from deepdigits.tracking import DatasetIdentity


def register_all(profile: str) -> list[Registered]:
    """Register every packaged model that the registry does not have yet; see `deepdigits.registry.register`."""
    return [register(read_packaged(task, profile)) for task in TASKS.values()]


def read_packaged(task: Task, profile: str) -> Packaged:
    """Collect one packaged model from models/NAME and reports/.

    Raises:
        UserError: a file is missing or damaged.
    """
    directory = paths.MODELS / task.name
    with (paths.PLOTS / f"train_{task.name}.csv").open(encoding="utf-8", newline="") as file:
        history = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    return Packaged(
        task=task,
        directory=directory,
        dataset=DatasetIdentity.of(read_json(task.data.manifest)),
        metrics=test_measures(task.name, read_json(paths.METRICS / f"{task.metrics}.json")),
        history=history,
        description=read_json(directory / "model.json"),
        profile=profile,
    )
