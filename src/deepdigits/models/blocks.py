"""What the networks for scenes are built of."""

from __future__ import annotations

from torch import nn


def convolution(width_in: int, width_out: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution, batch norm, ReLU; the size of the maps is divided by `stride`."""
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(width_out),
        nn.ReLU(inplace=True),
    )
