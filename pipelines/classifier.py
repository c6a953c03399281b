"""What `train_cnn` and `train_rnn` share: a classifier trained on the images, and its temperature."""

from __future__ import annotations

from functools import partial
from typing import cast

from pydantic import BaseModel

from deepdigits import paths
from deepdigits.calibration import fit_temperature, logits_of
from deepdigits.config.classifiers import Fit
from deepdigits.data.augmentation import augment
from deepdigits.data.manifest import validated_manifest
from deepdigits.data.splits import load_split
from deepdigits.lineage import Lineage
from deepdigits.models.classifier import Temperature
from deepdigits.models.classifier_training import Classifier
from deepdigits.tracking import DatasetIdentity
from pipelines.training import Recipe, train_network


def train_classifier(name: str, net: BaseModel, config: Fit, module: Classifier, lineage: Lineage) -> None:
    """Train `module` on the train split, keep the epoch with the lowest validation loss, write models/NAME."""
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
    train_network(recipe, lineage, dataset)
