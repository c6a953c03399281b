"""Train a classifier as part of a measurement: nothing is tracked, and only the network is kept."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn

from deepdigits.data.digits.splits import Split
from deepdigits.tasks.classification.augmentation import augment
from deepdigits.tasks.classification.config import Fit
from deepdigits.tasks.classification.training import Classifier
from deepdigits.training.fitting import fit_to_loss
from deepdigits.training.trainer import OnEpoch
from deepdigits.training.weights import part_of


def fit_classifier(
    make: Callable[[], Classifier], train: Split, validation: Split, config: Fit, on_epoch: OnEpoch
) -> nn.Module:
    """Return the network of the epoch that is best on `validation`, in evaluation mode.

    `make` is called after the seed is set.
    """
    torch.manual_seed(config.seed)
    module = make()
    distort = partial(augment, config=config.augmentation)
    with tempfile.TemporaryDirectory() as checkpoints:
        fitted = fit_to_loss(
            module, train.pairs, validation.pairs, config, Path(checkpoints), on_epoch, augment=distort
        )
    module.net.load_state_dict(part_of(fitted.state, "net."))
    return module.net.eval()


def ignore_epoch(_epoch: int, _metrics: dict[str, float]) -> None:
    """A no-op `on_epoch`, for training without progress output."""
