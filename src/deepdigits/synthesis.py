"""Judging a generator by networks that are trained on what it draws."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch.nn import functional as F
from torch.optim import Adam

from deepdigits.config.evaluation import FreshDiscriminator, Synthetic
from deepdigits.config.gan import GanNet
from deepdigits.data.batches import epoch_generator, to_unit
from deepdigits.data.splits import Split
from deepdigits.models.classifier import CLASSES
from deepdigits.models.cnn_training import cnn_to_train
from deepdigits.models.gan import Discriminator, Generator
from deepdigits.trials import keep_silent, train_for_trial

Draw = Callable[[np.ndarray, int], np.ndarray]  # labels int64 (n,) and a seed -> images uint8 (n, 28, 28)


def classifier_of_generated(draw: Draw, config: Synthetic) -> torch.nn.Module:
    """Train a CNN on generated images alone; its accuracy on real ones is the classification accuracy score
    (Ravuri and Vinyals, 2019, arXiv:1905.10887). Its epoch is chosen by generated images, too."""
    splits = []
    for part, count in enumerate((config.images, max(CLASSES, config.images // 10))):
        labels = np.arange(count) % CLASSES
        splits.append(Split(draw(labels, config.fit.seed + part), labels))
    make = partial(cnn_to_train, config.net, config.fit)
    return train_for_trial(make, splits[0], splits[1], config.fit, keep_silent)


def fresh_discriminator(
    net: GanNet, generator: Generator, real: Split, config: FreshDiscriminator, seed: int
) -> Discriminator:
    """Train a new discriminator to tell `real`, which the GAN has not been trained on, from the generator's images.

    The one of the GAN has seen the training images and is one of two that chase each other; this one only judges.
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
