"""How a network for scenes is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytorch_lightning.callbacks import Callback

from deepdigits.config.fit import CycleFit
from deepdigits.data.batches import InMemoryData, Pairs
from deepdigits.models.scene_training import SceneTraining
from deepdigits.training import Fitted, OnEpoch, fit

VALIDATION_SCENES = 200  # at once: a scene has nine times the pixels of a digit


def fit_scenes(
    module: SceneTraining,
    train: Pairs,
    validation: Pairs,
    config: CycleFit,
    checkpoint_dir: Path,
    on_epoch: OnEpoch,
    callbacks: Sequence[Callback] = (),
) -> Fitted:
    """Train as `config` says and keep the epoch with the lowest validation loss; see `deepdigits.training.fit`.

    Args:
        train: images uint8 `(n, height, width)` and a target for each; validation: likewise.
    """
    data = InMemoryData(
        train,
        validation,
        batch_size=config.batch_size,
        steps_per_epoch=config.steps_per_epoch,
        seed=config.seed,
        validation_batch=VALIDATION_SCENES,
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
