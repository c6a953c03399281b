"""Training and validation data in the form that the trainer expects."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from torch import Tensor

from deepdigits.training.batches import (
    VALIDATION_BATCH,
    Augment,
    OrderedBatches,
    Pairs,
    ShuffledBatches,
    epoch_generator,
)


class InMemoryData(pl.LightningDataModule):
    """Training and validation batches. The trainer requests new training batches every epoch.

    All images are moved to the device once, as bytes, and distorted there. Random numbers are drawn on the CPU, so that
    every device gets the same.
    """

    def __init__(
        self,
        train: Pairs,
        validation: Pairs | None,
        *,
        batch_size: int,
        steps_per_epoch: int,
        seed: int,
        augment: Augment | None = None,
        weights: Tensor | None = None,
        validation_batch: int = VALIDATION_BATCH,
    ):
        super().__init__()
        self.train_tensors = _tensors(train)
        self.validation_tensors = _tensors(validation) if validation else None
        self.validation_batch = validation_batch
        self.batch_size, self.steps_per_epoch = batch_size, steps_per_epoch
        self.seed, self.augment, self.weights = seed, augment, weights

    def setup(self, stage: str) -> None:
        assert self.trainer
        device = self.trainer.strategy.root_device
        self.train_tensors = _moved(self.train_tensors, device)
        if self.validation_tensors:
            self.validation_tensors = _moved(self.validation_tensors, device)

    def train_dataloader(self) -> ShuffledBatches:
        epoch = self.trainer.current_epoch if self.trainer else 0
        generator = epoch_generator(self.seed, epoch)
        return ShuffledBatches(
            *self.train_tensors, self.batch_size, self.steps_per_epoch, generator, self.augment, self.weights
        )

    def val_dataloader(self) -> OrderedBatches | list[OrderedBatches]:
        return OrderedBatches(*self.validation_tensors, self.validation_batch) if self.validation_tensors else []


def _tensors(pairs: Pairs) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(pairs[0]), torch.from_numpy(pairs[1])


def _moved(tensors: tuple[Tensor, Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    return tensors[0].to(device), tensors[1].to(device)
