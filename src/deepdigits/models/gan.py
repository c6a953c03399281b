"""The conditional GAN: a generator fed gaussian noise and a class, and a discriminator that it must fool."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam
from torch.optim.swa_utils import AveragedModel

from deepdigits.config.gan import GanNet, TrainGan
from deepdigits.data.pixels import to_bytes
from deepdigits.models.answering import answered
from deepdigits.models.blocks import strided
from deepdigits.models.classifier import CLASSES

BATCH = 1000  # images drawn at once


class Generator(nn.Module):
    """Noise float32 `(n, noise_dim)`, standard normal, and digits int64 `(n,)` -> images `(n, 1, 28, 28)` in 0 to 1.

    The wide layers stand at 7x7 and 14x14; convolutions at 28x28 would cost four times as much.
    """

    def __init__(self, config: GanNet):
        super().__init__()
        wide, narrow = config.generator_widths
        self.wide, self.noise_dim = wide, config.noise_dim
        self.dense = nn.Linear(config.noise_dim + CLASSES, wide * 7 * 7, bias=False)
        self.upsample = nn.Sequential(
            nn.BatchNorm2d(wide),
            nn.ReLU(),
            nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(narrow),
            nn.ReLU(),
            nn.ConvTranspose2d(narrow, 1, 4, stride=2, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, noise: Tensor, digits: Tensor) -> Tensor:
        condition = F.one_hot(digits, CLASSES).to(noise.dtype)
        hidden = self.dense(torch.cat([noise, condition], dim=1))
        images: Tensor = self.upsample(hidden.view(-1, self.wide, 7, 7))
        return images


class Discriminator(nn.Module):
    """Images `(n, 1, 28, 28)` in 0 to 1 and digits int64 `(n,)` -> logits `(n,)`, higher for real.

    The class enters by projection (Miyato and Koyama, 2018, arXiv:1802.05637). No batch or spectral norm:
    with them the generator collapsed inside each class.
    """

    def __init__(self, config: GanNet):
        super().__init__()
        self.config = config
        *widths, dense = config.discriminator_widths
        self.body = nn.Sequential(*strided(widths), nn.Linear(widths[2] * 4 * 4, dense), nn.LeakyReLU(0.2))
        self.score = nn.Linear(dense, 1)
        self.projection = nn.Embedding(CLASSES, dense)

    def forward(self, images: Tensor, digits: Tensor) -> Tensor:
        hidden = self.body(2 * images - 1)
        logits: Tensor = self.score(hidden).squeeze(1) + (self.projection(digits) * hidden).sum(dim=1)
        return logits


def _warm_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """An exponential moving average that starts short, so that the untrained weights are soon forgotten."""

    def average(averaged: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
        if not averaged.is_floating_point():
            return current  # the batch counter of batch norm
        count = int(updates)
        return torch.lerp(current, averaged, min(decay, (1 + count) / (10 + count)))

    return average


class ConditionalGan(pl.LightningModule):
    """Non-saturating logistic losses (Goodfellow et al., 2014, arXiv:1406.2661) with lazy R1 regularisation of the
    discriminator on real images (Mescheder et al., 2018, arXiv:1801.04406) and an exponential moving average of the
    generator, which is the network that is judged and kept."""

    def __init__(self, config: TrainGan):
        super().__init__()
        self.automatic_optimization = False
        self.config = config
        self.generator = Generator(config.net)
        self.discriminator = Discriminator(config.net)
        self.averaged = AveragedModel(self.generator, avg_fn=_warm_average(config.ema_decay), use_buffers=True)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        real, digits = batch
        optimizer_g, optimizer_d = self.optimizers()  # type: ignore[attr-defined]
        noise = torch.randn(len(real), self.config.net.noise_dim)
        fake_digits = torch.randint(CLASSES, (len(real),))
        fake = self.generator(noise, fake_digits)

        loss_d = F.softplus(self.discriminator(fake.detach(), fake_digits)).mean()
        if batch_index % self.config.r1_every == 0:
            loss_d = loss_d + self._real_loss_with_r1(real, digits)
        else:
            loss_d = loss_d + F.softplus(-self.discriminator(real, digits)).mean()
        optimizer_d.zero_grad()
        self.manual_backward(loss_d)
        optimizer_d.step()

        self.toggle_optimizer(optimizer_g)  # spares the gradients of the discriminator's weights
        loss_g = F.softplus(-self.discriminator(fake, fake_digits)).mean()
        optimizer_g.zero_grad()
        self.manual_backward(loss_g)
        optimizer_g.step()
        self.untoggle_optimizer(optimizer_g)
        self.averaged.update_parameters(self.generator)

        self._log_epoch_mean({"train/generator_loss": loss_g, "train/discriminator_loss": loss_d})

    def configure_optimizers(self) -> Any:
        rate, betas = self.config.learning_rate, (0.5, 0.99)
        return [
            Adam(self.generator.parameters(), lr=rate, betas=betas),
            Adam(self.discriminator.parameters(), lr=rate, betas=betas),
        ]

    def _real_loss_with_r1(self, real: Tensor, digits: Tensor) -> Tensor:
        real = real.detach().requires_grad_()
        logits = self.discriminator(real, digits)
        (slope,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
        penalty = slope.square().sum(dim=(1, 2, 3)).mean()
        self._log_epoch_mean({"train/r1": penalty})
        # Lazy regularisation: applied every k-th step, k times as strong (Karras et al., 2020, arXiv:1912.04958).
        weight = self.config.r1_gamma / 2 * self.config.r1_every
        return F.softplus(-logits).mean() + weight * penalty

    def _log_epoch_mean(self, values: dict[str, Tensor]) -> None:
        self.log_dict({name: value.detach() for name, value in values.items()}, on_step=False, on_epoch=True)


def class_noise(samples_per_class: int, noise_dim: int, seed: int) -> tuple[Tensor, Tensor]:
    """Fixed noise float32 `(n, noise_dim)` and digits int64 `(n,)`, class by class; n is 10 * samples_per_class."""
    noise = torch.randn(CLASSES * samples_per_class, noise_dim, generator=torch.Generator().manual_seed(seed))
    return noise, torch.arange(CLASSES).repeat_interleave(samples_per_class)


@torch.inference_mode()
def generate(generator: nn.Module, noise: Tensor, digits: Tensor) -> np.ndarray:
    """Images uint8 `(n, 28, 28)` from a generator, which is put in evaluation mode."""
    generator.eval()
    parts = [generator(z, y) for z, y in zip(noise.split(BATCH), digits.split(BATCH), strict=True)]
    return to_bytes(torch.cat(parts).squeeze(1).numpy())


def scores(discriminator: nn.Module, images: np.ndarray, digits: np.ndarray) -> np.ndarray:
    """Discriminator logits float32 `(n,)` of uint8 images `(n, 28, 28)`; the network is put in evaluation mode."""
    return answered(discriminator, discriminator, images, digits)


def interpolated_noise(noise_dim: int, steps: int, seed: int) -> tuple[Tensor, Tensor]:
    """For each digit, noise on the great circle between two random points, `(10 * steps, noise_dim)`, and the digits.

    Gaussian noise lies near a sphere, so the straight line would leave it (White, 2016, arXiv:1609.04468).
    """
    start, end = torch.randn(2, CLASSES, 1, noise_dim, generator=torch.Generator().manual_seed(seed))
    angle = torch.acos(torch.cosine_similarity(start, end, dim=2).clamp(-1, 1)).unsqueeze(2)
    position = torch.linspace(0, 1, steps).view(1, steps, 1)
    path = (torch.sin((1 - position) * angle) * start + torch.sin(position * angle) * end) / torch.sin(angle)
    return path.reshape(-1, noise_dim), torch.arange(CLASSES).repeat_interleave(steps)
