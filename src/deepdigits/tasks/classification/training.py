"""Training for any network that maps images to ten logits."""

from __future__ import annotations

from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torchmetrics.classification import MulticlassAccuracy

from deepdigits.nn.contrast import CLASSES
from deepdigits.tasks.classification.calibration import fit_temperature, scaled_loss
from deepdigits.training.schedule import with_schedule


class Classifier(pl.LightningModule):
    """Cross-entropy with label smoothing, and a learning rate that rises, then falls to zero.

    Args:
        net: float32 `(n, 1, 28, 28)` in [0, 1] -> logits `(n, 10)`.
        optimizer: of the parameters of `net`, at the peak of its learning rate.
        label_smoothing: 0 to 1; applies to training only.

    `val/loss`, which selects the best epoch, is the cross-entropy after fitting a temperature, as the final model will
    have one. Label smoothing makes networks underconfident; without the temperature, a mid-training epoch could win by
    being more confident rather than more accurate.
    """

    def __init__(
        self,
        net: nn.Module,
        optimizer: Optimizer,
        label_smoothing: float,
    ):
        super().__init__()
        self.net = net
        self.optimizer = optimizer
        self.label_smoothing = label_smoothing
        self.accuracy = nn.ModuleDict(
            {part: MulticlassAccuracy(CLASSES, average="micro") for part in ("on_train", "on_val")}
        )
        self.validated: list[tuple[Tensor, Tensor]] = []

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(images)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], _batch_index: int) -> Tensor:
        logits, labels = self._predict(batch, "train")
        loss = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(labels), prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], _batch_index: int) -> None:
        logits, labels = self._predict(batch, "val")
        self.validated.append((logits.float(), labels))

    def on_validation_epoch_end(self) -> None:
        logits, labels = (torch.cat(parts).cpu().numpy() for parts in zip(*self.validated, strict=True))
        self.validated.clear()
        self.log("val/loss", scaled_loss(logits, labels, fit_temperature(logits, labels)), prog_bar=True)

    def configure_optimizers(self) -> Any:
        return with_schedule(self, self.optimizer)

    def _predict(self, batch: tuple[Tensor, Tensor], part: str) -> tuple[Tensor, Tensor]:
        """Return the logits and labels of a batch, and log its accuracy."""
        images, labels = batch
        logits = self(images)
        accuracy = cast(MulticlassAccuracy, self.accuracy[f"on_{part}"])
        accuracy.update(logits.detach(), labels)
        self.log(f"{part}/accuracy", accuracy, on_step=False, on_epoch=True, prog_bar=True)
        return logits, labels
