"""Batches from whole splits in memory. Their order depends only on (seed, epoch)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deepdigits.nn.prediction import to_unit

Pairs = tuple[np.ndarray, np.ndarray]  # images uint8 (n, height, width), and a label or other target for each
Augment = Callable[[Tensor, torch.Generator], Tensor]
VALIDATION_BATCH = 1000


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """The random stream of one epoch. It needs no state from earlier epochs, so training can resume anywhere."""
    return torch.Generator().manual_seed(
        int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1)
    )


@dataclass(frozen=True)
class ShuffledBatches:
    """`steps` batches of images float32 `(size, 1, height, width)` in 0 to 1 and their labels.

    Images are drawn without replacement until all have been served, then again in another order. The work per epoch
    therefore does not depend on the number of images. With `weights`, one per image, they are drawn with replacement
    instead, in proportion to these.
    """

    images: Tensor
    labels: Tensor
    size: int
    steps: int
    generator: torch.Generator
    augment: Augment | None = None
    weights: Tensor | None = None

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for rows in self._order().to(self.labels.device).split(self.size):
            batch = to_unit(self.images[rows])
            if self.augment:
                batch = self.augment(batch, self.generator)
            yield batch, self.labels[rows]

    def _order(self) -> Tensor:
        wanted = self.steps * self.size
        if self.weights is not None:
            return torch.multinomial(self.weights, wanted, replacement=True, generator=self.generator)
        passes = -(-wanted // len(self.labels))
        return torch.cat([torch.randperm(len(self.labels), generator=self.generator) for _ in range(passes)])[:wanted]


@dataclass(frozen=True)
class OrderedBatches:
    """Every image once, in order. Shapes are as in `ShuffledBatches`; the last batch may be smaller."""

    images: Tensor
    labels: Tensor
    size: int

    def __len__(self) -> int:
        return -(-len(self.labels) // self.size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in zip(self.images.split(self.size), self.labels.split(self.size), strict=True):
            yield to_unit(images), labels
