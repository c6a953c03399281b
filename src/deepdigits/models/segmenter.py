"""The segmenter: a small U-Net (Ronneberger et al., 2015, arXiv:1505.04597) that names the digit of every pixel."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepdigits.config.segmenter import SegmenterNet
from deepdigits.data.scenes import SCENES_AT_ONCE
from deepdigits.models.answering import answered
from deepdigits.models.blocks import convolution

CLASSES = 11  # background and ten digits


class Segmenter(nn.Module):
    """float32 `(n, 1, height, width)` in 0 to 1 -> logits `(n, 11, height, width)`; class 0 is the background, class
    1 + d the digit d.

    Four levels, each at half the size of the one before; on the way back each level sees what it gave on the way down.
    """

    def __init__(self, config: SegmenterNet):
        super().__init__()
        first, second, third, fourth = config.widths
        self.level1 = convolution(1, first)
        self.level2 = nn.Sequential(convolution(first, second, 2), convolution(second, second))
        self.level3 = nn.Sequential(convolution(second, third, 2), convolution(third, third))
        self.level4 = nn.Sequential(
            convolution(third, fourth, 2),
            convolution(fourth, fourth),
            convolution(fourth, fourth),
            convolution(fourth, fourth),
        )
        self.back3 = _Back(fourth, third)
        self.back2 = _Back(third, second)
        self.back1 = _Back(second, first)
        self.head = nn.Conv2d(first, CLASSES, 1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        one = self.level1(images.contiguous(memory_format=torch.channels_last))
        two = self.level2(one)
        three = self.level3(two)
        logits: Tensor = self.head(self.back1(self.back2(self.back3(self.level4(three), three), two), one))
        return logits


class _Back(nn.Module):
    """One level up: the coarser map, narrowed and enlarged, is added to the finer one."""

    def __init__(self, coarse: int, fine: int):
        super().__init__()
        self.narrow = convolution(coarse, fine, kernel=1)
        self.blend = convolution(fine, fine)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        blended: Tensor = self.blend(F.interpolate(self.narrow(coarse), size=fine.shape[2:], mode="nearest") + fine)
        return blended


def segmentation_loss(logits: Tensor, semantic: Tensor) -> Tensor:
    """Cross-entropy plus the mean over the digits of 1 - Dice (Milletari et al., 2016, arXiv:1606.04797), each digit
    over the whole batch.

    Args:
        logits: `(n, 11, height, width)`.
        semantic: integers `(n, height, width)`, 0 to 10.
    """
    target = semantic.long()
    probabilities = logits.softmax(dim=1)
    wanted = F.one_hot(target, CLASSES).movedim(3, 1).to(logits.dtype)
    shared = (probabilities * wanted).sum(dim=(0, 2, 3))[1:]
    both = (probabilities + wanted).sum(dim=(0, 2, 3))[1:]
    return F.cross_entropy(logits, target) + (1 - (2 * shared + 1) / (both + 1)).mean()


def name_pixels(network: Segmenter, images: np.ndarray) -> np.ndarray:
    """The class of every pixel, uint8 0 to 10 `(n, height, width)`, of scenes uint8 `(n, height, width)`."""
    return answered(network, lambda part: network(part).argmax(dim=1).to(torch.uint8), images, at_once=SCENES_AT_ONCE)


def losses(net: nn.Module, images: Tensor, semantic: Tensor) -> dict[str, Tensor]:
    """What is minimised, for masks of integers `(n, height, width)`, 0 to 10."""
    return {"loss": segmentation_loss(net(images), semantic)}
