"""What the pipeline has packaged, read back from its files."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import Any

from deepdigits import paths
from deepdigits.files import read_json
from deepdigits.measures import test_measures
from deepdigits.registry import Packaged, Registered, register
from deepdigits.tasks.catalogue import TASKS
from deepdigits.tasks.task import Task
from deepdigits.tracking import DatasetIdentity


def register_all(names: Iterable[str], profile: str) -> list[Registered]:
    """Register the packaged models that the registry does not have yet; see `deepdigits.registry.register`."""
    return [register(read_packaged(TASKS[name], profile)) for name in names]


def read_metrics() -> dict[str, Any]:
    """The metrics of every train and evaluate stage, flat. What they say of their data is in the manifests."""
    names = [f"train_{name}" for name in TASKS] + sorted({task.metrics for task in TASKS.values()})
    found = {key: value for name in names for key, value in read_json(paths.METRICS / f"{name}.json").items()}
    return {key: value for key, value in found.items() if not key.startswith("dataset.")}


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
