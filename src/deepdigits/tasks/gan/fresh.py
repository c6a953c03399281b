"""Judge a generator by a discriminator trained from scratch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Adam

from deepdigits.data.digits.splits import Split
from deepdigits.nn.prediction import to_unit
from deepdigits.tasks.config import FreshDiscriminator
from deepdigits.tasks.gan.config import GanNet
from deepdigits.tasks.gan.network import Discriminator
from deepdigits.training.batches import epoch_generator

Fake = Callable[
    [Tensor, torch.Generator], Tensor
]  # digits int64 (n,) -> random images of them, (n, 1, 28, 28) in [0, 1]


def fresh_discriminator(net: GanNet, fake: Fake, real: Split, config: FreshDiscriminator, seed: int) -> Discriminator:
    """Train a new discriminator to distinguish `real`, which the generator was not trained on, from generated images.

    The generator's own discriminator has seen the training images, and the two keep adapting to each other. This one
    only judges.
    """
    torch.manual_seed(seed)
    discriminator = Discriminator(net)
    optimizer = Adam(discriminator.parameters(), lr=config.learning_rate, betas=(0.5, 0.99), fused=True)
    images, labels = torch.from_numpy(real.images), torch.from_numpy(real.labels)
    draw = epoch_generator(seed, 0)
    for _ in range(config.steps):
        rows = torch.randint(len(labels), (config.batch_size,), generator=draw)
        with torch.no_grad():
            drawn = fake(labels[rows], draw)
        loss = F.softplus(-discriminator(to_unit(images[rows]), labels[rows])).mean()
        loss = loss + F.softplus(discriminator(drawn, labels[rows])).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return discriminator.eval()
