"""What any network that maps images to ten class scores has."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CLASSES = 10


class Temperature(nn.Module):
    """Logits divided by one number, so that confidence matches accuracy (Guo et al., 2017, arXiv:1706.04599).

    1 while training; `deepdigits.calibration.fit_temperature` finds it afterwards, and the weights file carries it.
    """

    value: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("value", torch.ones(()))

    def forward(self, logits: Tensor) -> Tensor:
        return logits / self.value
