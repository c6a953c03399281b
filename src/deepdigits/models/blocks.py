"""What several networks are built of."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def convolution(width_in: int, width_out: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution, batch norm, ReLU; the size of the maps is divided by `stride`."""
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(width_out),
        nn.ReLU(inplace=True),
    )


def strided(widths: Sequence[int]) -> list[nn.Module]:
    """Images `(n, 1, 28, 28)` -> `(n, widths[2] * 4 * 4)`, for networks that judge real and drawn images: no batch
    norm, whose means would be those of both mixed."""
    first, second, third = widths
    return [
        nn.Conv2d(1, first, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(first, second, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(second, third, 3, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
    ]
