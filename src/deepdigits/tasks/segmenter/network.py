"""The segmenter: a small U-Net (Ronneberger et al., 2015, arXiv:1505.04597) that names the digit of every pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepdigits.data.scenes.scenes import SCENES_AT_ONCE
from deepdigits.nn.blocks import Backbone, convolution
from deepdigits.nn.loading import load_network
from deepdigits.nn.prediction import predict_batches
from deepdigits.tasks.segmenter.config import SegmenterNet

CLASSES = 11  # background and ten digits
ENTROPY_WEIGHT = 2.0  # of the cross-entropy, which draws the outlines, against the Dice term, which tells the digits


class Segmenter(nn.Module):
    """float32 `(n, 1, height, width)` in 0 to 1 -> logits `(n, 11, height, width)`; class 0 is the background, class
    1 + d the digit d.

    The way down is the backbone; on the way back each level sees what it gave on the way down.
    """

    def __init__(self, config: SegmenterNet):
        super().__init__()
        first, second, third, fourth = config.widths
        self.backbone = Backbone(config.widths)
        self.back3 = UpBlock(fourth, third)
        self.back2 = UpBlock(third, second)
        self.back1 = UpBlock(second, first)
        self.head = nn.Conv2d(first, CLASSES, 1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        one, two, three, four = self.backbone(images)
        logits: Tensor = self.head(self.back1(self.back2(self.back3(four, three), two), one))
        return logits


class UpBlock(nn.Module):
    """One level up: the coarser map, narrowed and enlarged, is added to the finer one."""

    def __init__(self, coarse: int, fine: int):
        super().__init__()
        self.narrow = convolution(coarse, fine, kernel=1)
        self.blend = convolution(fine, fine)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        blended: Tensor = self.blend(F.interpolate(self.narrow(coarse), size=fine.shape[2:], mode="nearest") + fine)
        return blended


def segmentation_loss(logits: Tensor, semantic: Tensor) -> Tensor:
    """Twice the cross-entropy, plus the mean over the digits of -log Dice (Wong et al., 2018, arXiv:1809.00076), each
    digit over the whole batch. 1 - Dice has hardly a slope before a digit is found: short trainings stayed with all
    background.

    Args:
        logits: `(n, 11, height, width)`.
        semantic: integers `(n, height, width)`, 0 to 10.
    """
    target = semantic.long()
    log_probabilities = logits.log_softmax(dim=1)
    probabilities = log_probabilities.exp()
    right, pixels = probabilities.gather(1, target.unsqueeze(1)).flatten(), target.flatten()
    shared = right.new_zeros(CLASSES).index_add(0, pixels, right)
    both = probabilities.sum(dim=(0, 2, 3)) + pixels.bincount(minlength=CLASSES)
    dice = (2 * shared[1:] + 1) / (both[1:] + 1)
    return ENTROPY_WEIGHT * F.nll_loss(log_probabilities, target) - dice.log().mean()


def name_pixels(network: Segmenter, images: np.ndarray) -> np.ndarray:
    """The class of every pixel, uint8 0 to 10 `(n, height, width)`, of scenes uint8 `(n, height, width)`."""
    return predict_batches(
        network, lambda part: network(part).argmax(dim=1).to(torch.uint8), images, at_once=SCENES_AT_ONCE
    )


def losses(net: nn.Module, images: Tensor, semantic: Tensor) -> dict[str, Tensor]:
    """What is minimised, for masks of integers `(n, height, width)`, 0 to 10."""
    return {"loss": segmentation_loss(net(images), semantic)}


def load_segmenter(path: Path) -> Segmenter:
    """Rebuild the network from its file; see `deepdigits.nn.loading.load_network`."""
    return load_network(path, "segmenter", SegmenterNet, Segmenter)
