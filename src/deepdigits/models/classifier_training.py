"""The training of any network that maps images to ten class scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytorch_lightning as pl
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torchmetrics.classification import MulticlassAccuracy

from deepdigits.models.classifier import CLASSES
from deepdigits.models.optimization import one_cycle


class Classifier(pl.LightningModule):
    """Cross-entropy with label smoothing under a one-cycle learning rate.

    Args:
        net: float32 `(n, 1, 28, 28)` in 0 to 1 -> logits `(n, 10)`.
        make_optimizer: parameters of `net` -> optimizer.
        max_learning_rate: the peak of the cycle.
        label_smoothing: 0 to 1; used in training alone, `val/loss` is the plain cross-entropy.
    """

    def __init__(
        self,
        net: nn.Module,
        make_optimizer: Callable[[Any], Optimizer],
        max_learning_rate: float,
        label_smoothing: float,
    ):
        super().__init__()
        self.net = net
        self.make_optimizer = make_optimizer
        self.max_learning_rate = max_learning_rate
        self.label_smoothing = label_smoothing
        self.accuracy = nn.ModuleDict(
            {part: MulticlassAccuracy(CLASSES, average="micro") for part in ("on_train", "on_val")}
        )

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(images)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], _batch_index: int) -> Tensor:
        return self._step(batch, "train", self.label_smoothing)

    def validation_step(self, batch: tuple[Tensor, Tensor], _batch_index: int) -> None:
        self._step(batch, "val", 0.0)

    def configure_optimizers(self) -> Any:
        return one_cycle(self, self.make_optimizer(self.net.parameters()), self.max_learning_rate)

    def _step(self, batch: tuple[Tensor, Tensor], part: str, smoothing: float) -> Tensor:
        images, labels = batch
        logits = self(images)
        loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
        accuracy = cast(MulticlassAccuracy, self.accuracy[f"on_{part}"])
        accuracy.update(logits.detach(), labels)
        self.log(f"{part}/loss", loss, on_step=False, on_epoch=True, batch_size=len(labels), prog_bar=True)
        self.log(f"{part}/accuracy", accuracy, on_step=False, on_epoch=True, prog_bar=True)
        return loss
