"""What `train_cnn` and `train_rnn` share: a classifier trained on the images, and its temperature."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import BaseModel

from deepdigits import paths
from deepdigits.calibration import fit_temperature, logits_of
from deepdigits.classifier_training import fit_classifier
from deepdigits.config.classifiers import Fit
from deepdigits.data.manifest import validated_manifest
from deepdigits.data.splits import load_split
from deepdigits.lineage import Lineage
from deepdigits.models.classifier import Classifier
from deepdigits.tracking import DatasetIdentity
from deepdigits.training import Fitted, OnEpoch
from pipelines.training import Recipe, train_network


def train_classifier(name: str, net: BaseModel, config: Fit, module: Classifier, lineage: Lineage) -> None:
    """Train `module` on the train split, keep the epoch with the lowest validation loss, write models/NAME."""
    dataset = DatasetIdentity.of(validated_manifest(paths.MANIFEST, paths.VERDICT))
    train, validation = (load_split(paths.split_file(split)) for split in ("train", "validation"))

    def fit(checkpoints: Path, on_epoch: OnEpoch) -> Fitted:
        return fit_classifier(module, train, validation, config, checkpoints, on_epoch)

    def calibrate(fitted: Fitted) -> dict[str, float]:
        module.load_state_dict(fitted.state)
        temperature = fit_temperature(logits_of(module.net, validation.images), validation.labels)
        fitted.state["net.temperature.value"] = torch.tensor(temperature)
        return {"temperature": float(fitted.state["net.temperature.value"])}

    train_network(Recipe(name, net, config, fit, calibrate, ("accuracy", ".2%")), lineage, dataset)
