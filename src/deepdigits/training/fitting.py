"""Trains image networks, in the pipeline and in experiments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytorch_lightning.callbacks import Callback
from torch import Tensor

from deepdigits.core.sections import Compute
from deepdigits.training.batches import VALIDATION_BATCH, Augment, Pairs
from deepdigits.training.config import CycleFit
from deepdigits.training.data_module import InMemoryData
from deepdigits.training.sharding import ShardedTraining
from deepdigits.training.trainer import Fitted, OnEpoch, fit


def fit_to_loss(
    module: ShardedTraining,
    train: Pairs,
    validation: Pairs,
    config: CycleFit,
    checkpoint_dir: Path,
    on_epoch: OnEpoch,
    callbacks: Sequence[Callback] = (),
    *,
    augment: Augment | None = None,
    weights: Tensor | None = None,
    validation_batch: int = VALIDATION_BATCH,
    compute: Compute | None = None,
) -> Fitted:
    """Train according to `config` and keep the epoch with the lowest validation loss; see
    `deepdigits.training.trainer.fit`.

    The criterion is not the highest accuracy: a few of the 5,000 validation images decide that, and epochs tie.

    Args:
        module: logs `val/loss`.
        train: images uint8 `(n, height, width)` and a target for each; `validation` likewise.
        augment: applied to training images.
        weights: how often each training image is drawn, relative to the others; all equally often by default.
        validation_batch: validation images per batch.
        compute: device, precision and shards; None for the CPU, single precision and whole batches.
    """
    data = InMemoryData(
        train,
        validation,
        batch_size=config.batch_size,
        steps_per_epoch=config.steps_per_epoch,
        seed=config.seed,
        augment=augment,
        weights=weights,
        validation_batch=validation_batch,
    )
    return fit(
        module,
        data,
        epochs=config.epochs,
        seed=config.seed,
        monitor="val/loss",
        mode="min",
        checkpoint_dir=checkpoint_dir,
        on_epoch=on_epoch,
        callbacks=callbacks,
        gradient_clip=config.gradient_clip,
        compute=compute,
    )
