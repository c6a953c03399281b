"""The segmenter: a small U-Net (Ronneberger et al., 2015, arXiv:1505.04597) that classifies every pixel."""

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

# Weight of the cross-entropy, which sharpens the outlines, relative to the Dice term, which separates the digits.
ENTROPY_WEIGHT = 2.0


class Segmenter(nn.Module):
    """float32 `(n, 1, height, width)` in [0, 1] -> logits `(n, 1 + classes, height, width)`.

    Class 0 is the background, class 1 + d the digit d. The backbone is the contracting path; on the expanding path,
    each level also receives its own output from the contracting path. The last layer predicts the four pixels of each
    cell at half size (Shi et al., 2016, arXiv:1609.05158).
    """

    def __init__(self, config: SegmenterNet):
        super().__init__()
        half, quarter, eighth = config.widths
        self.backbone = Backbone(config.widths)
        self.to_quarter = UpBlock(eighth, quarter)
        self.to_half = UpBlock(quarter, half)
        self.head = nn.Conv2d(half, 4 * (1 + config.classes), 3, padding=1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        half, quarter, eighth = self.backbone(images)
        cells = self.head(self.to_half(self.to_quarter(eighth, quarter), half))
        height, width = images.shape[2:]
        return F.pixel_shuffle(cells, 2)[:, :, :height, :width]


class UpBlock(nn.Module):
    """One level up: reduce the coarser map's channels, upsample it, and add it to the finer map."""

    def __init__(self, coarse: int, fine: int):
        super().__init__()
        self.narrow = convolution(coarse, fine, kernel=1)
        self.blend = convolution(fine, fine)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        blended: Tensor = self.blend(F.interpolate(self.narrow(coarse), size=fine.shape[2:], mode="nearest") + fine)
        return blended


def segmentation_loss(logits: Tensor, semantic: Tensor) -> Tensor:
    """Twice the cross-entropy, plus the mean over the digits of -log Dice (Wong et al., 2018, arXiv:1809.00076).

    Dice is computed per digit over the whole batch. The gradient of 1 - Dice almost vanishes until a digit is found:
    with it, short training runs got stuck predicting only background.

    Args:
        logits: `(n, 11, height, width)`.
        semantic: integers `(n, height, width)`, 0 to the number of classes.
    """
    target, classes = semantic.long(), logits.shape[1]
    log_probabilities = logits.float().log_softmax(dim=1)
    # Not `nll_loss`, which has no deterministic implementation for pixels on a GPU.
    log_right, pixels = log_probabilities.gather(1, target.unsqueeze(1)).flatten(), target.flatten()
    shared = log_right.new_zeros(classes).index_add(0, pixels, log_right.exp())
    both = log_probabilities.exp().sum(dim=(0, 2, 3)) + pixels.bincount(minlength=classes)
    dice = (2 * shared[1:] + 1) / (both[1:] + 1)
    return -ENTROPY_WEIGHT * log_right.mean() - dice.log().mean()


def name_pixels(network: Segmenter, images: np.ndarray) -> np.ndarray:
    """Predict the class of every pixel, uint8 `(n, height, width)`, in scenes uint8 `(n, height, width)`."""
    return predict_batches(
        network, lambda part: network(part).argmax(dim=1).to(torch.uint8), images, at_once=SCENES_AT_ONCE
    )


def losses(net: nn.Module, images: Tensor, semantic: Tensor) -> dict[str, Tensor]:
    """The training loss for integer masks `(n, height, width)`, 0 for the background."""
    return {"loss": segmentation_loss(net(images), semantic)}


def load_segmenter(path: Path) -> Segmenter:
    """Rebuild the network from its file; see `deepdigits.nn.loading.load_network`."""
    return load_network(path, "segmenter", SegmenterNet, Segmenter)
