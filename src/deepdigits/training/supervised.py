"""Supervised training on images and their targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from deepdigits.training.config import CycleFit
from deepdigits.training.muon import Muon
from deepdigits.training.schedule import with_schedule
from deepdigits.training.sharding import ShardedTraining

Losses = Callable[[nn.Module, Tensor, Tensor], dict[str, Tensor]]


class SupervisedTraining(ShardedTraining):
    """Muon with a learning rate that rises, then falls to zero.

    Args:
        net: takes images float32 `(n, 1, height, width)` in 0 to 1.
        losses: (network, images, targets) -> losses by name; `loss` is minimised. If they are no means over images,
            `weight` is what they are means over.
        fit: the section of params.yaml.
    """

    def __init__(self, net: nn.Module, losses: Losses, fit: CycleFit):
        super().__init__()
        self.net, self.losses = net, losses
        self.learning_rate, self.weight_decay = fit.max_learning_rate, fit.weight_decay

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        for images, targets in self.turns(batch, batch_index):
            found = self.losses(self.net, images, targets)
            weight = found.pop("weight", 1.0)
            self.manual_backward(found["loss"])
            self.note(found, weight)
        self.step(self.optimizers())
        self.step_schedules()

    def validation_step(self, batch: tuple[Tensor, Tensor], _batch_index: int) -> None:
        found = self.losses(self.net, *batch)
        found.pop("weight", None)
        named = {f"val/{name}": value for name, value in found.items()}
        self.log_dict(named, on_step=False, on_epoch=True, batch_size=len(batch[0]), prog_bar=True)

    def configure_optimizers(self) -> Any:
        return with_schedule(self, Muon(self.net.parameters(), self.learning_rate, self.weight_decay))
