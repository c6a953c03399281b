"""Trains any of the seven networks for a given number of steps, on small data, as its stage does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.callbacks import Callback

from deepdigits.core.sections import Compute
from deepdigits.data.digits.splits import Split
from deepdigits.data.ingest.sources import digits_splits
from deepdigits.data.scenes.scenes import Scenes, compose, detection_targets
from deepdigits.nn.prediction import to_unit
from deepdigits.release.params import Params
from deepdigits.tasks.classification.augmentation import augment
from deepdigits.tasks.cnn.training import cnn_to_train
from deepdigits.tasks.detector import network as detector
from deepdigits.tasks.fakes import network as fakes
from deepdigits.tasks.gan.training import FOOL_RATE, ConditionalGan
from deepdigits.tasks.rnn.training import rnn_to_train
from deepdigits.tasks.segmenter import network as segmenter
from deepdigits.tasks.segmenter.config import SegmenterNet
from deepdigits.tasks.swap.training import SwapTraining, usual_handwriting
from deepdigits.training.batches import Augment, Pairs
from deepdigits.training.data_module import InMemoryData
from deepdigits.training.fitting import fit_to_loss
from deepdigits.training.sharding import ShardedTraining
from deepdigits.training.supervised import SupervisedTraining
from deepdigits.training.trainer import Fitted, fit

SEED = 1
VALIDATED = 64  # images


@dataclass(frozen=True)
class Data:
    """scikit-learn's digits, and scenes made of them."""

    train: Split
    validation: Split
    scenes: Scenes

    @classmethod
    def small(cls, params: Params, scenes: int) -> Data:
        train, validation = digits_splits()
        return cls(train, validation, compose(validation, scenes, params.compose.style, [SEED]))


@dataclass(frozen=True)
class Run:
    """How long to train, where, and where the checkpoints are."""

    epochs: int
    steps: int
    folder: Path
    compute: Compute
    callbacks: Sequence[Callback] = ()


def train(name: str, params: Params, data: Data, run: Run) -> Fitted:
    """Train the network that ships, with its own batch size and learning rate."""
    torch.manual_seed(SEED)
    if name == "gan":
        return _train_gan(params, data, run)
    section = getattr(params, f"train_{name}")
    config = section.fit.model_copy(update={"epochs": run.epochs, "steps_per_epoch": run.steps})
    section = section.model_copy(update={"fit": config})
    few = tuple(array[:VALIDATED] for array in pairs_of(name, data))
    return fit_to_loss(
        module_of(name, params, section, data),
        pairs_of(name, data),
        (few[0], few[1]),
        config,
        run.folder,
        lambda *_: None,
        run.callbacks,
        augment=augment_of(name, section),
        compute=run.compute,
    )


def module_of(name: str, params: Params, section: Any, data: Data) -> ShardedTraining:
    if name == "cnn":
        return cnn_to_train(section.net, section.fit)
    if name == "rnn":
        return rnn_to_train(section.net, section.fit)
    if name == "swap":
        images, labels = to_unit(torch.from_numpy(data.train.images)), torch.from_numpy(data.train.labels)
        return SwapTraining(section, usual_handwriting(images, labels, section.net.gan.classes))
    if name == "detector":
        return SupervisedTraining(detector.Detector(section.net), detector.losses, section.fit)
    if name == "segmenter":
        net = segmenter.Segmenter(SegmenterNet(widths=params.train_detector.net.widths))
        return SupervisedTraining(net, segmenter.losses, section.fit)
    return SupervisedTraining(fakes.FakesDetector(section.net), fakes.losses, section.fit)


def pairs_of(name: str, data: Data) -> Pairs:
    if name == "detector":
        return data.scenes.images, detection_targets(data.scenes)
    if name == "segmenter":
        return data.scenes.images, data.scenes.semantic
    if name == "fakes":
        return data.train.images, data.train.labels % 2
    return data.train.pairs


def augment_of(name: str, section: Any) -> Augment | None:
    return partial(augment, config=section.fit.augmentation) if name in ("cnn", "rnn") else None


def _train_gan(params: Params, data: Data, run: Run) -> Fitted:
    config = params.train_gan
    batches = InMemoryData(
        data.train.pairs, None, batch_size=config.batch_size, steps_per_epoch=run.steps, seed=config.seed
    )
    return fit(
        ConditionalGan(config),
        batches,
        epochs=run.epochs,
        seed=config.seed,
        monitor=FOOL_RATE,
        mode="max",
        checkpoint_dir=run.folder,
        on_epoch=lambda *_: None,
        callbacks=run.callbacks,
        compute=run.compute,
    )
