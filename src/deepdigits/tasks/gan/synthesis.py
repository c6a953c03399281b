"""Judge a generator by networks trained on its samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam

from deepdigits.data.digits.splits import Split
from deepdigits.nn.contrast import CLASSES
from deepdigits.nn.prediction import to_unit
from deepdigits.tasks.classification.fit_classifier import fit_classifier, ignore_epoch
from deepdigits.tasks.cnn.training import cnn_to_train
from deepdigits.tasks.config import FreshDiscriminator, Synthetic
from deepdigits.tasks.gan.config import GanNet
from deepdigits.tasks.gan.network import Discriminator, Generator
from deepdigits.training.batches import epoch_generator

Draw = Callable[[np.ndarray, int], np.ndarray]  # labels int64 (n,) and a seed -> images uint8 (n, 28, 28)


class Ensemble(nn.Module):
    """An ensemble of classifiers: its logits give the mean of their softmax probabilities."""

    def __init__(self, networks: Iterable[nn.Module]):
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([network(images).softmax(dim=1) for network in self.networks]).mean(dim=0).log()


def classifier_of_generated(draw: Draw, config: Synthetic) -> nn.Module:
    """Train an ensemble of CNNs only on generated images.

    Its accuracy on real images is the classification accuracy score (Ravuri and Vinyals, 2019, arXiv:1905.10887).

    A single CNN would be too noisy, because the result of one short training depends on luck: for the same generator,
    changing only the seed moves a single CNN's score by more than most generators differ.
    """
    seeds = range(config.fit.seed, config.fit.seed + 10 * config.networks, 10)
    return Ensemble(_trained_on_generated(draw, config, seed) for seed in seeds)


def _trained_on_generated(draw: Draw, config: Synthetic, seed: int) -> nn.Module:
    """Train one CNN of the ensemble. Its best epoch is also selected on generated images."""
    fit = config.fit.model_copy(update={"seed": seed})
    splits = []
    for part, count in enumerate((config.images, max(CLASSES, config.images // 10))):
        labels = np.arange(count) % CLASSES
        splits.append(Split(draw(labels, seed + part), labels))
    return fit_classifier(partial(cnn_to_train, config.net, fit), splits[0], splits[1], fit, ignore_epoch)


def fresh_discriminator(
    net: GanNet, generator: Generator, real: Split, config: FreshDiscriminator, seed: int
) -> Discriminator:
    """Train a new discriminator to distinguish `real`, which the GAN was not trained on, from generated images.

    The GAN's own discriminator has seen the training images, and it and the generator keep adapting to each other. This
    one only judges.
    """
    torch.manual_seed(seed)
    discriminator = Discriminator(net)
    optimizer = Adam(discriminator.parameters(), lr=config.learning_rate, betas=(0.5, 0.99), fused=True)
    images, labels = torch.from_numpy(real.images), torch.from_numpy(real.labels)
    draw = epoch_generator(seed, 0)
    for _ in range(config.steps):
        rows = torch.randint(len(labels), (config.batch_size,), generator=draw)
        noise = torch.randn(config.batch_size, generator.noise_dim, generator=draw)
        with torch.no_grad():
            fake = generator(noise, labels[rows])
        loss = F.softplus(-discriminator(to_unit(images[rows]), labels[rows])).mean()
        loss = loss + F.softplus(discriminator(fake, labels[rows])).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return discriminator.eval()
