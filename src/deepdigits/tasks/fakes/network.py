"""The detector of fakes: is a digit real handwriting, or drawn by the generator or the swap of this pipeline?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from deepdigits.nn.blocks import convolution
from deepdigits.nn.loading import load_network
from deepdigits.nn.prediction import predict_batches
from deepdigits.tasks.fakes.config import FakesNet


class FakesDetector(nn.Module):
    """Images float32 `(n, 1, 28, 28)` in 0 to 1 -> logits `(n,)`, higher for fakes.

    No pooling: what gives a fake away is in the finest detail, and strided convolutions keep what they need of it.
    """

    def __init__(self, config: FakesNet):
        super().__init__()
        first, second, third, dense = config.widths
        self.body = nn.Sequential(
            convolution(1, first),
            convolution(first, second, 2),
            convolution(second, third, 2),
            nn.Flatten(),
            nn.Linear(third * 7 * 7, dense),
            nn.ReLU(),
        )
        self.head = nn.Linear(dense, 1)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(images)).squeeze(1)
        return logits


def losses(net: nn.Module, images: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """What is minimised, for `fake` `(n,)`, 1 or 0."""
    return {"loss": F.binary_cross_entropy_with_logits(net(images), fake.to(images.dtype))}


def fake_probabilities(network: nn.Module, images: np.ndarray) -> np.ndarray:
    """How likely each of images uint8 `(n, 28, 28)` is a fake, where half of them are, float32 `(n,)`."""
    return predict_batches(network, lambda part: network(part).sigmoid(), images)


def load_fakes_detector(path: Path) -> FakesDetector:
    """Rebuild the network from its file; see `deepdigits.nn.loading.load_network`."""
    return load_network(path, "fakes", FakesNet, FakesDetector)
