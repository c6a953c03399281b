"""Shared by `train_cnn` and `train_rnn`: train a classifier on the images and fit its temperature."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar, cast

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor

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

N = TypeVar("N", bound=BaseModel)


def train_classifier(
    name: str,
    net: N,
    config: Fit,
    make: Callable[[N, Fit, Tensor | None], Classifier],
    compute: Compute,
    lineage: Lineage,
) -> None:
    """Train on the train split, keep the epoch with the lowest validation loss, and write models/NAME.

    Args:
        make: builds the classifier from `net`, completed with the number of classes, from `config` and class weights.
    """
    manifest = validated_manifest(paths.MANIFEST, paths.VERDICT)
    net = net.model_copy(update={"classes": len(manifest["classes"])})
    train, validation = (load_split(paths.split_file(split)) for split in ("train", "validation"))
    rarity = rarity_of(train.labels, len(manifest["classes"]))
    torch.manual_seed(config.seed)
    module = make(net, config, rarity if config.balance == "loss" else None)

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
        weights=rarity[train.labels] if config.balance == "sampling" else None,
    )
    train_network(recipe, compute, lineage, DatasetIdentity.of(manifest))


def rarity_of(labels: np.ndarray, classes: int) -> Tensor:
    """Weights float32 `(classes,)` that make all classes count equally, with a mean of 1 over `labels`."""
    counts = np.bincount(labels, minlength=classes)
    return torch.from_numpy(len(labels) / (classes * counts.clip(1))).float()
