"""How a classifier is trained, in the pipeline and for a measurement."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pytorch_lightning.callbacks import Callback

from deepdigits.config.classifiers import Fit
from deepdigits.data.augmentation import augment
from deepdigits.data.batches import InMemoryData
from deepdigits.data.splits import Split
from deepdigits.models.classifier import Classifier
from deepdigits.training import Fitted, OnEpoch, fit


def fit_classifier(
    module: Classifier,
    train: Split,
    validation: Split,
    config: Fit,
    checkpoint_dir: Path,
    on_epoch: OnEpoch,
    callbacks: Sequence[Callback] = (),
) -> Fitted:
    """Train as `config` says and keep the epoch with the lowest validation loss; see `deepdigits.training.fit`.

    Not the highest accuracy: a few of the 5,000 validation images decide that, and epochs tie.
    """
    data = InMemoryData(
        (train.images, train.labels),
        (validation.images, validation.labels),
        batch_size=config.batch_size,
        steps_per_epoch=config.steps_per_epoch,
        seed=config.seed,
        augment=partial(augment, config=config.augmentation),
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
    )
