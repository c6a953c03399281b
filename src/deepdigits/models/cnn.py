"""The convolutional network: shared weights that respond to local patterns wherever they stand."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import SGD

from deepdigits.config import CnnNet, Fit
from deepdigits.models.classifier import CLASSES, Classifier


class Cnn(nn.Module):
    """Five 3x3 convolutions with batch norm and ReLU, max pooling after the first and third, global max pooling.

    float32 `(n, 1, 28, 28)` in 0 to 1 -> logits `(n, 10)`.
    """

    def __init__(self, config: CnnNet):
        super().__init__()
        layers: list[nn.Module] = []
        width_in = 1
        for index, width in enumerate(config.widths):
            layers += [
                nn.Conv2d(width_in, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            if index in (0, 2):
                layers.append(nn.MaxPool2d(2))
            width_in = width
        self.convolutions = nn.Sequential(*layers)
        self.head = nn.Linear(width_in, CLASSES)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def features(self, images: Tensor) -> Tensor:
        """The last hidden layer, `(n, widths[-1])`: the space in which generated images are judged."""
        maps: Tensor = self.convolutions(images.contiguous(memory_format=torch.channels_last))
        return maps.amax(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits


def lightning_module(net: CnnNet, fit: Fit) -> Classifier:
    """Ready to train with Nesterov SGD."""
    make = partial(SGD, lr=fit.max_learning_rate, momentum=0.9, nesterov=True, weight_decay=fit.weight_decay)
    return Classifier(Cnn(net), make, fit.max_learning_rate, fit.label_smoothing)
