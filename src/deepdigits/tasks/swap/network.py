"""The identity swap, a DeepFake for digits: the handwriting of one image, showing another digit.

A supervised adversarial autoencoder (Makhzani et al., 2015, arXiv:1511.05644) with a generator like the GAN's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepdigits.core.pixels import to_bytes
from deepdigits.nn.blocks import UnitInterval, strided
from deepdigits.nn.loading import load_network
from deepdigits.nn.prediction import predict_batches
from deepdigits.tasks.gan.config import GanNet
from deepdigits.tasks.gan.network import Generator
from deepdigits.tasks.swap.config import SwapNet

DENSE = 128  # width of the encoder's last hidden layer
FULL_SIZE = 16  # the generator's channels at 28x28


class Swapper(nn.Module):
    """Images float32 `(n, 1, 28, 28)` in [0, 1] and digits int64 `(n,)` -> those digits in the images' handwriting.

    The output is `(n, 1, 28, 28)` in [0, 1]. The style of an image is what its handwriting adds to the digit it shows,
    so the network reads that digit first.
    """

    def __init__(self, config: SwapNet):
        super().__init__()
        self.config = config
        self.reader = Reader(config.encoder_widths, config.gan.classes)
        self.encoder = StyleEncoder(config)
        self.generator = SwapGenerator(config.gan)

    def forward(self, images: Tensor, digits: Tensor) -> Tensor:
        swapped: Tensor = self.generator(self.style(images), digits)
        return swapped

    def style(self, images: Tensor) -> Tensor:
        """The style code, float32 `(n, d)` in [-1, 1]."""
        code: Tensor = self.encoder(images, self.reader(images).argmax(dim=1))
        return code


class SwapGenerator(Generator):
    """The GAN's generator, except that its last layers smooth: a swap must also draw the strokes of rare styles whole.

    A transposed convolution at the full size, as in the GAN, left strokes dotted and frayed.
    """

    def __init__(self, config: GanNet):
        super().__init__(config)
        narrow = config.generator_widths[1]
        self.upsample = nn.Sequential(
            *list(self.upsample)[:-2],
            nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.Conv2d(narrow, FULL_SIZE, 3, padding=1, bias=False),
            nn.BatchNorm2d(FULL_SIZE),
            nn.ReLU(),
            nn.Conv2d(FULL_SIZE, 1, 3, padding=1),
            UnitInterval(),
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class StyleEncoder(nn.Module):
    """Images `(n, 1, 28, 28)` and the digits they show, int64 `(n,)` -> style codes `(n, d)` in [-1, 1].

    Each number of a code is rounded to one of `levels` steps, with a straight-through gradient (finite scalar
    quantization: Mentzer et al., 2023, arXiv:2309.15505). Without rounding, the identity would hide in the codes' last
    digits: out of reach for the latent discriminator used in training, but not for a larger one.
    """

    def __init__(self, config: SwapNet):
        super().__init__()
        style = config.gan.noise_dim
        self.reach, self.classes = config.levels // 2, config.gan.classes
        self.body = nn.Sequential(*strided(config.encoder_widths))
        self.dense = nn.Linear(config.encoder_widths[2] * 4 * 4 + self.classes, DENSE)
        self.code = nn.Sequential(nn.LeakyReLU(0.2), nn.Linear(DENSE, style), nn.BatchNorm1d(style, affine=False))

    def forward(self, images: Tensor, digits: Tensor) -> Tensor:
        condition = F.one_hot(digits, self.classes).to(images.dtype)
        steps = self.code(self.dense(torch.cat([self.body(images), condition], dim=1))).tanh() * self.reach
        rounded: Tensor = steps + (steps.round() - steps).detach()
        return rounded / self.reach


class Reader(nn.Module):
    """Images `(n, 1, 28, 28)` -> logits `(n, classes)`.

    The reader is part of the swap and is trained along with it; swaps are judged by the CNN of `train_cnn`.
    """

    def __init__(self, widths: tuple[int, ...], classes: int):
        super().__init__()
        self.body = nn.Sequential(*strided(widths))
        self.head = nn.Linear(widths[2] * 4 * 4, classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(images))
        return logits


def swap_digits(network: Swapper, images: np.ndarray, digits: np.ndarray) -> np.ndarray:
    """Swap images uint8 `(n, 28, 28)` to digits int64 `(n,)`; returns uint8 `(n, 28, 28)`."""
    return to_bytes(predict_batches(network, network, images, digits).squeeze(1))


def style_codes(network: Swapper, images: np.ndarray) -> np.ndarray:
    """Style codes float32 `(n, d)` of images uint8 `(n, 28, 28)`."""
    return predict_batches(network, network.style, images)


def digits_read(network: Swapper, images: np.ndarray) -> np.ndarray:
    """The digits that the swap's own reader predicts, int64 `(n,)`, for images uint8 `(n, 28, 28)`."""
    return predict_batches(network, lambda part: network.reader(part).argmax(dim=1), images)


def load_swapper(path: Path) -> Swapper:
    """Rebuild the network from its file; see `deepdigits.nn.loading.load_network`."""
    return load_network(path, "swap", SwapNet, Swapper)


def other_digits(labels: np.ndarray, classes: int) -> np.ndarray:
    """Choose a different digit for each image, int64 `(n,)`; all (source, target) pairs are about equally frequent."""
    steps = 1 + np.arange(len(labels)) % (classes - 1)
    return np.asarray((labels.astype(np.int64) + steps) % classes)
