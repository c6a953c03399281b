"""Supervised training on images and their targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from torch import Tensor, nn

from deepdigits.training.config import CycleFit
from deepdigits.training.muon import Muon
from deepdigits.training.schedule import with_schedule

Losses = Callable[[nn.Module, Tensor, Tensor], dict[str, Tensor]]


class SupervisedTraining(pl.LightningModule):
    """Muon with a learning rate that rises, then falls to zero.

    Args:
        net: takes images float32 `(n, 1, height, width)` in 0 to 1.
        losses: (network, images, targets) -> losses by name; `loss` is minimised.
        fit: the section of params.yaml.
    """

    def __init__(self, net: nn.Module, losses: Losses, fit: CycleFit):
        super().__init__()
        self.net, self.losses = net, losses
        self.learning_rate, self.weight_decay = fit.max_learning_rate, fit.weight_decay

    def training_step(self, batch: tuple[Tensor, Tensor], _batch_index: int) -> Tensor:
        return self._step(batch, "train")

    def validation_step(self, batch: tuple[Tensor, Tensor], _batch_index: int) -> None:
        self._step(batch, "val")

    def configure_optimizers(self) -> Any:
        return with_schedule(self, Muon(self.net.parameters(), self.learning_rate, self.weight_decay))

    def _step(self, batch: tuple[Tensor, Tensor], part: str) -> Tensor:
        found = self.losses(self.net, *batch)
        named = {f"{part}/{name}": value for name, value in found.items()}
        self.log_dict(named, on_step=False, on_epoch=True, batch_size=len(batch[0]), prog_bar=True)
        return found["loss"]
