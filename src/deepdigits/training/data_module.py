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
    """Training and validation batches. The trainer requests new training batches every epoch."""

    def __init__(
        self,
        train: Pairs,
        validation: Pairs | None,
        *,
        batch_size: int,
        steps_per_epoch: int,
        seed: int,
        augment: Augment | None = None,
        validation_batch: int = VALIDATION_BATCH,
    ):
        super().__init__()
        self.train_tensors = _tensors(train)
        self.validation_tensors = _tensors(validation) if validation else None
        self.validation_batch = validation_batch
        self.batch_size, self.steps_per_epoch = batch_size, steps_per_epoch
        self.seed, self.augment = seed, augment

    def train_dataloader(self) -> ShuffledBatches:
        epoch = self.trainer.current_epoch if self.trainer else 0
        generator = epoch_generator(self.seed, epoch)
        return ShuffledBatches(*self.train_tensors, self.batch_size, self.steps_per_epoch, generator, self.augment)

    def val_dataloader(self) -> OrderedBatches | list[OrderedBatches]:
        return OrderedBatches(*self.validation_tensors, self.validation_batch) if self.validation_tensors else []


def _tensors(pairs: Pairs) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(pairs[0]), torch.from_numpy(pairs[1])
