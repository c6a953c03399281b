"""The convolutional network: shared weights that respond to local patterns wherever they appear."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from deepdigits.nn.contrast import Temperature
from deepdigits.nn.loading import load_network
from deepdigits.nn.prediction import predict_batches
from deepdigits.tasks.classification.contrast import normalize
from deepdigits.tasks.cnn.config import CnnNet


class Cnn(nn.Module):
    """Contrast as `config` says, then five 3x3 convolutions with batch norm and ReLU, then global max pooling.

    There is additional max pooling after the first and the second convolution.

    float32 `(n, 1, 28, 28)` in [0, 1] -> logits `(n, classes)`.
    """

    def __init__(self, config: CnnNet):
        super().__init__()
        self.contrast = config.contrast
        layers: list[nn.Module] = []
        width_in = 1
        for index, width in enumerate(config.widths):
            layers.append(nn.Conv2d(width_in, width, 3, padding=1, bias=False))
            if index in (0, 1):  # before the norm, which then has only a quarter of the pixels to process
                layers.append(nn.MaxPool2d(2))
            layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            width_in = width
        self.convolutions = nn.Sequential(*layers)
        self.head = nn.Linear(width_in, config.classes)
        self.temperature = Temperature()
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def first_layer(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The first convolution's kernels `(channels, 3, 3)` and its output `(n, channels, 28, 28)` for images."""
        convolution = self.convolutions[0]
        assert isinstance(convolution, nn.Conv2d)
        maps: Tensor = convolution(normalize(images, self.contrast))
        return convolution.weight.squeeze(1), maps

    def features(self, images: Tensor) -> Tensor:
        """The last hidden layer, `(n, widths[-1])`: the feature space for judging generated images."""
        normal = normalize(images, self.contrast).contiguous(memory_format=torch.channels_last)
        maps: Tensor = self.convolutions(normal)
        return maps.amax(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.temperature(self.head(self.features(images)))
        return logits


def load_cnn(path: Path) -> Cnn:
    """Rebuild the network from its file; see `deepdigits.nn.loading.load_network`."""
    return load_network(path, "cnn", CnnNet, Cnn)


def features(network: Cnn, images: np.ndarray) -> np.ndarray:
    """The CNN's last hidden layer, float32 `(n, d)`, for uint8 images `(n, 28, 28)`."""
    return predict_batches(network, network.features, images)
