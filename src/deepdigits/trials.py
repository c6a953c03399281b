"""Training a classifier for a measurement: nothing is tracked or kept but the network."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn

from deepdigits.config import Fit
from deepdigits.data.augmentation import augment
from deepdigits.data.batches import InMemoryData
from deepdigits.data.splits import Split
from deepdigits.models.classifier import Classifier
from deepdigits.training import OnEpoch, fit
from deepdigits.weights import part_of


def train_for_trial(
    make: Callable[[], Classifier], train: Split, validation: Split, config: Fit, on_epoch: OnEpoch
) -> nn.Module:
    """The network of the best epoch by `validation`, in evaluation mode; `make` is called once the seed is set."""
    torch.manual_seed(config.seed)
    module = make()
    data = InMemoryData(
        train,
        validation,
        batch_size=config.batch_size,
        steps_per_epoch=config.steps_per_epoch,
        seed=config.seed,
        augment=partial(augment, config=config.augmentation),
    )
    with tempfile.TemporaryDirectory() as checkpoints:
        fitted = fit(
            module,
            data,
            epochs=config.epochs,
            seed=config.seed,
            monitor="val/accuracy",
            mode="max",
            checkpoint_dir=Path(checkpoints),
            on_epoch=on_epoch,
            gradient_clip=config.gradient_clip,
        )
    module.net.load_state_dict(part_of(fitted.state, "net."))
    return module.net.eval()


def keep_silent(_epoch: int, _metrics: dict[str, float]) -> None:
    """For `on_epoch` where nobody reads along."""
