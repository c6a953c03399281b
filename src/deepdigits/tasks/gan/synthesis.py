"""Judge a generator by classifiers trained on its samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from deepdigits.data.digits.splits import Split
from deepdigits.tasks.classification.fit_classifier import fit_classifier, ignore_epoch
from deepdigits.tasks.cnn.training import cnn_to_train
from deepdigits.tasks.config import Synthetic

Draw = Callable[[np.ndarray, int], np.ndarray]  # labels int64 (n,) and a seed -> images uint8 (n, 28, 28)


class Ensemble(nn.Module):
    """An ensemble of classifiers: its logits give the mean of their softmax probabilities."""

    def __init__(self, networks: Iterable[nn.Module]):
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([network(images).softmax(dim=1) for network in self.networks]).mean(dim=0).log()


def classifier_of_generated(draw: Draw, config: Synthetic, classes: int) -> nn.Module:
    """Train an ensemble of CNNs only on generated images.

    Its accuracy on real images is the classification accuracy score (Ravuri and Vinyals, 2019, arXiv:1905.10887).

    A single CNN would be too noisy, because the result of one short training depends on luck: for the same generator,
    changing only the seed moves a single CNN's score by more than most generators differ.
    """
    net = config.net.model_copy(update={"classes": classes})
    config = config.model_copy(update={"net": net})
    seeds = range(config.fit.seed, config.fit.seed + 10 * config.networks, 10)
    return Ensemble(_trained_on_generated(draw, config, seed) for seed in seeds)


def _trained_on_generated(draw: Draw, config: Synthetic, seed: int) -> nn.Module:
    """Train one CNN of the ensemble. Its best epoch is also selected on generated images."""
    fit = config.fit.model_copy(update={"seed": seed})
    splits = []
    for part, count in enumerate((config.images, max(config.net.classes, config.images // 10))):
        labels = np.arange(count) % config.net.classes
        splits.append(Split(draw(labels, seed + part), labels))
    return fit_classifier(partial(cnn_to_train, config.net, fit), splits[0], splits[1], fit, ignore_epoch)
