"""Training for any network that maps images to the logits of their classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from deepdigits.tasks.classification.calibration import fit_temperature, scaled_loss
from deepdigits.training.schedule import with_schedule
from deepdigits.training.sharding import ShardedTraining


class Classifier(ShardedTraining):
    """Cross-entropy with label smoothing, and a learning rate that rises, then falls to zero.

    Args:
        net: float32 `(n, 1, 28, 28)` in [0, 1] -> logits `(n, classes)`.
        optimizer: of the parameters of `net`, at the peak of its learning rate.
        label_smoothing: 0 to 1; applies to training only.
        class_weights: float32 `(classes,)`, the weight of an image's loss by its class; all 1 by default.

    `val/loss`, which selects the best epoch, is the cross-entropy after fitting a temperature, as the final model will
    have one. Label smoothing makes networks underconfident; without the temperature, a mid-training epoch could win by
    being more confident rather than more accurate.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        net: nn.Module,
        optimizer: Optimizer,
        label_smoothing: float,
        class_weights: Tensor | None = None,
    ):
        super().__init__()
        self.net = net
        self.optimizer = optimizer
        self.label_smoothing = label_smoothing
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.validated: list[tuple[Tensor, Tensor]] = []

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(images)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        for images, labels in self.turns(batch, batch_index):
            logits = self(images)
            loss = self._loss(logits, labels)
            self.manual_backward(loss)
            self.note({"loss": loss, "accuracy": (logits.argmax(dim=1) == labels).float().mean()})
        self.step(self.optimizers())
        self.step_schedules()

    def validation_step(self, batch: tuple[Tensor, Tensor], _batch_index: int) -> None:
        images, labels = batch
        self.validated.append((self(images).float(), labels))

    def on_validation_epoch_end(self) -> None:
        logits, labels = (torch.cat(parts).cpu().numpy() for parts in zip(*self.validated, strict=True))
        self.validated.clear()
        loss = scaled_loss(logits, labels, fit_temperature(logits, labels))
        accuracy = float((logits.argmax(axis=1) == labels).mean())
        self.log_dict({"val/loss": loss, "val/accuracy": accuracy}, prog_bar=True)

    def configure_optimizers(self) -> Any:
        return with_schedule(self, self.optimizer)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.class_weights is None:
            return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        each = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing, reduction="none")
        return (each * self.class_weights[labels]).mean()
