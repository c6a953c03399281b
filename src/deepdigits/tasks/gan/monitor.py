"""Callbacks that monitor GAN training: validation measures, a sample grid per epoch, and the stopping rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from deepdigits.data.digits.splits import Split, first_of_each_class
from deepdigits.plotting.figures import save_image_grid
from deepdigits.tasks.gan.config import GanNet, GanStop
from deepdigits.tasks.gan.metrics import diversity, frechet_distance
from deepdigits.tasks.gan.network import class_noise, generate
from deepdigits.tasks.gan.training import FOOL_RATE, ConditionalGan

MONITOR = "val/frechet"
PROJECTED = 64  # principal components: they explain about 87 % of the variance of MNIST's pixels


class ValidationMeasures(Callback):
    """After each epoch, compares samples from fixed noise with the validation images and logs the measures.

    `val/diversity`: mean distance within a class, relative to real images.
    `val/frechet`: Frechet distance in the principal components of the training pixels; it selects the best epoch. It
    needs no other network, so this stage does not depend on another one; `evaluate` measures FID in the CNN's features.
    """

    def __init__(self, train: Split, validation: Split, samples_per_class: int, net: GanNet, seed: int, grid_dir: Path):
        self.noise, self.digits = class_noise(samples_per_class, net, seed)
        self.mean, self.axes = _principal_axes(train.images)
        self.real_projected = self._project(validation.images)
        self.real_diversity = diversity(validation.images, validation.labels)
        self.grid_dir = grid_dir

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, ConditionalGan)
        digits = self.digits.numpy()
        fake = generate(pl_module.averaged, self.noise, self.digits)
        ratio = diversity(fake, digits) / self.real_diversity
        measures = {
            "val/diversity": float(ratio.mean()),
            "val/diversity_min": float(ratio.min()),
            MONITOR: frechet_distance(self.real_projected, self._project(fake)),
        }
        pl_module.log_dict(measures, prog_bar=True)
        grid = self.grid_dir / f"epoch_{trainer.current_epoch + 1:03d}.png"
        save_image_grid(first_of_each_class(fake, digits, 10), grid, columns=10)

    def _project(self, images: np.ndarray) -> np.ndarray:
        return np.asarray((images.reshape(len(images), 784) / 255 - self.mean) @ self.axes)


class FoolRateStopping(Callback):
    """Stops training once a large share of the samples fool the discriminator while the samples stay varied.

    Both conditions must hold in the same epoch. The fool rate alone is not enough: a generator that draws one perfect
    image per class reaches 100 %.
    """

    def __init__(self, config: GanStop):
        self.config = config
        self.reason = "max_epochs"

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        metrics = trainer.callback_metrics
        if metrics[FOOL_RATE] > self.config.fool_rate and metrics["val/diversity_min"] > self.config.diversity:
            self.reason = "fool_rate"
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        return {"reason": self.reason}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.reason = state_dict["reason"]


def _principal_axes(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    flat = images.reshape(len(images), 784).astype(np.float64) / 255
    _, vectors = np.linalg.eigh(np.cov(flat, rowvar=False))
    return flat.mean(axis=0), vectors[:, -PROJECTED:]
