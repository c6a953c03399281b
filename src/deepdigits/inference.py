"""The networks of single digits, rebuilt from their files, and their answers for whole splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn

from deepdigits.config.classifiers import CnnNet, RnnNet
from deepdigits.config.fakes import FakesNet
from deepdigits.config.gan import GanNet
from deepdigits.config.swap import SwapNet
from deepdigits.models.answering import answered
from deepdigits.models.cnn import Cnn
from deepdigits.models.fakes import FakesDetector
from deepdigits.models.gan import Discriminator, Generator
from deepdigits.models.rnn import make_rnn
from deepdigits.models.swap import Swapper
from deepdigits.restoring import Kinds, restore

KINDS: Kinds = {
    "cnn": (CnnNet, Cnn),
    "rnn": (RnnNet, make_rnn),
    "generator": (GanNet, Generator),
    "discriminator": (GanNet, Discriminator),
    "swap": (SwapNet, Swapper),
    "fakes": (FakesNet, FakesDetector),
}


def load_network(path: Path) -> nn.Module:
    """Rebuild one of these; see `deepdigits.restoring.restore`."""
    return restore(path, KINDS)


def probabilities(network: nn.Module, images: np.ndarray) -> np.ndarray:
    """Class probabilities float32 `(n, 10)` of uint8 images `(n, 28, 28)`."""
    return answered(network, lambda part: network(part).softmax(dim=1), images)


def features(network: Cnn, images: np.ndarray) -> np.ndarray:
    """The CNN's last hidden layer, float32 `(n, d)`, for uint8 images `(n, 28, 28)`."""
    return answered(network, network.features, images)
