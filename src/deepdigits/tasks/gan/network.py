"""The conditional GAN: a generator fed with Gaussian noise and a class, and a discriminator that it must fool."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepdigits.core.pixels import to_bytes
from deepdigits.nn.blocks import UnitInterval, strided
from deepdigits.nn.loading import load_network
from deepdigits.nn.prediction import device_of, predict_batches
from deepdigits.tasks.gan.config import GanNet

BATCH = 1000  # images generated at once


class Generator(nn.Module):
    """Standard normal noise float32 `(n, noise_dim)`, digits int64 `(n,)` -> images `(n, 1, 28, 28)` in [0, 1].

    The wide layers work at 7x7 and 14x14; convolutions at 28x28 would cost four times as much.
    """

    def __init__(self, config: GanNet):
        super().__init__()
        wide, narrow = config.generator_widths
        self.wide, self.noise_dim, self.classes = wide, config.noise_dim, config.classes
        self.dense = nn.Linear(config.noise_dim + config.classes, wide * 7 * 7, bias=False)
        self.upsample = nn.Sequential(
            nn.BatchNorm2d(wide),
            nn.ReLU(),
            nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(narrow),
            nn.ReLU(),
            nn.ConvTranspose2d(narrow, 1, 4, stride=2, padding=1),
            UnitInterval(),
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, noise: Tensor, digits: Tensor) -> Tensor:
        condition = F.one_hot(digits, self.classes).to(noise.dtype)
        hidden = self.dense(torch.cat([noise, condition], dim=1))
        images: Tensor = self.upsample(hidden.view(-1, self.wide, 7, 7))
        return images


class Discriminator(nn.Module):
    """Images `(n, 1, 28, 28)` in [0, 1] and digits int64 `(n,)` -> logits `(n,)`, higher for real.

    The class enters by projection (Miyato and Koyama, 2018, arXiv:1802.05637). There is no batch or spectral norm: with
    them, the generator collapsed within each class.
    """

    def __init__(self, config: GanNet):
        super().__init__()
        self.config = config
        *widths, dense = config.discriminator_widths
        self.body = nn.Sequential(*strided(widths), nn.Linear(widths[2] * 4 * 4, dense), nn.LeakyReLU(0.2))
        self.score = nn.Linear(dense, 1)
        self.projection = nn.Embedding(config.classes, dense)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor, digits: Tensor) -> Tensor:
        hidden = self.body(2 * images - 1)
        logits: Tensor = self.score(hidden).squeeze(1) + (self.projection(digits) * hidden).sum(dim=1)
        return logits


def class_noise(samples_per_class: int, net: GanNet, seed: int) -> tuple[Tensor, Tensor]:
    """Fixed noise float32 `(n, noise_dim)` and digits int64 `(n,)`, class by class: `samples_per_class` of each."""
    noise = torch.randn(net.classes * samples_per_class, net.noise_dim, generator=torch.Generator().manual_seed(seed))
    return noise, torch.arange(net.classes).repeat_interleave(samples_per_class)


@torch.inference_mode()
def generate(generator: nn.Module, noise: Tensor, digits: Tensor) -> np.ndarray:
    """Generate images uint8 `(n, 28, 28)`. Puts the generator in evaluation mode."""
    generator.eval()
    device = device_of(generator)
    pairs = zip(noise.split(BATCH), digits.split(BATCH), strict=True)
    parts = [generator(z.to(device), y.to(device)).cpu() for z, y in pairs]
    return to_bytes(torch.cat(parts).squeeze(1).numpy())


def draw_images(generator: Generator, labels: np.ndarray, seed: int) -> np.ndarray:
    """Generate one image per label, uint8 `(n, 28, 28)`."""
    noise = torch.randn(len(labels), generator.noise_dim, generator=torch.Generator().manual_seed(seed))
    return generate(generator, noise, torch.from_numpy(labels))


def scores(discriminator: nn.Module, images: np.ndarray, digits: np.ndarray) -> np.ndarray:
    """Discriminator logits float32 `(n,)` for uint8 images `(n, 28, 28)`. Puts the network in evaluation mode."""
    return predict_batches(discriminator, discriminator, images, digits)


def interpolated_noise(generator: Generator, steps: int, seed: int) -> tuple[Tensor, Tensor]:
    """For each class, noise on the great circle between two random points, `(classes * steps, noise_dim)`, and labels.

    Gaussian noise lies near a sphere, and a straight line would leave it (White, 2016, arXiv:1609.04468).
    """
    classes, noise_dim = generator.classes, generator.noise_dim
    start, end = torch.randn(2, classes, 1, noise_dim, generator=torch.Generator().manual_seed(seed))
    angle = torch.acos(torch.cosine_similarity(start, end, dim=2).clamp(-1, 1)).unsqueeze(2)
    position = torch.linspace(0, 1, steps).view(1, steps, 1)
    path = (torch.sin((1 - position) * angle) * start + torch.sin(position * angle) * end) / torch.sin(angle)
    return path.reshape(-1, noise_dim), torch.arange(classes).repeat_interleave(steps)


def load_generator(path: Path) -> Generator:
    """Rebuild the network from its file; see `deepdigits.nn.loading.load_network`."""
    return load_network(path, "generator", GanNet, Generator)


def load_discriminator(path: Path) -> Discriminator:
    """Rebuild the network from its file; see `deepdigits.nn.loading.load_network`."""
    return load_network(path, "discriminator", GanNet, Discriminator)
