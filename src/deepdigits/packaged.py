"""What the pipeline has packaged, read back from its files."""

from __future__ import annotations

import csv

from deepdigits import paths
from deepdigits.files import read_json
from deepdigits.measures import test_measures
from deepdigits.registry import Packaged, Registered, register
from deepdigits.tracking import DatasetIdentity

MODEL_NAMES = ("cnn", "rnn", "gan")


def register_all(profile: str) -> list[Registered]:
    """Register every packaged model that the registry does not have yet; see `deepdigits.registry.register`."""
    return [register(read_packaged(model, profile)) for model in MODEL_NAMES]


def read_packaged(model: str, profile: str) -> Packaged:
    """Collect one packaged model from models/NAME and reports/.

    Raises:
        UserError: a file is missing or damaged.
    """
    directory = paths.MODELS / model
    metrics = read_json(paths.METRICS / "evaluate.json")
    with (paths.PLOTS / f"train_{model}.csv").open(encoding="utf-8", newline="") as file:
        history = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    return Packaged(
        model=model,
        directory=directory,
        dataset=DatasetIdentity.of(read_json(paths.MANIFEST)),
        metrics=test_measures(model, metrics),
        history=history,
        description=read_json(directory / "model.json"),
        profile=profile,
    )
