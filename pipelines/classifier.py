"""Shared by `train_cnn` and `train_rnn`: train a classifier on the images and fit its temperature."""

from __future__ import annotations

from functools import partial
from typing import cast

from pydantic import BaseModel

from deepdigits.core import paths
from deepdigits.core.sections import Compute
from deepdigits.data.digits.manifest import validated_manifest
from deepdigits.data.digits.splits import load_split
from deepdigits.nn.contrast import Temperature
from deepdigits.ops.lineage import Lineage
from deepdigits.ops.tracking import DatasetIdentity
from deepdigits.tasks.classification.augmentation import augment
from deepdigits.tasks.classification.calibration import fit_temperature, logits_of
from deepdigits.tasks.classification.config import Fit
from deepdigits.tasks.classification.training import Classifier
from pipelines.training import Recipe, train_network


def train_classifier(
    name: str, net: BaseModel, config: Fit, module: Classifier, compute: Compute, lineage: Lineage
) -> None:
    """Train `module` on the train split, keep the epoch with the lowest validation loss, and write models/NAME."""
    dataset = DatasetIdentity.of(validated_manifest(paths.MANIFEST, paths.VERDICT))
    train, validation = (load_split(paths.split_file(split)) for split in ("train", "validation"))

    def calibrate() -> dict[str, float]:
        fitted = fit_temperature(logits_of(module.net, validation.images), validation.labels)
        temperature = cast(Temperature, module.net.temperature)
        return {"temperature": float(temperature.value.fill_(fitted))}

    recipe = Recipe(
        name,
        net,
        config,
        module,
        train.pairs,
        validation.pairs,
        measure=calibrate,
        headline=("accuracy", ".2%"),
        augment=partial(augment, config=config.augmentation),
    )
    train_network(recipe, compute, lineage, dataset)
