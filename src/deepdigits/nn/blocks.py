"""Building blocks that several networks share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def convolution(width_in: int, width_out: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution, batch norm, ReLU. The feature map size is divided by `stride`."""
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(width_out),
        nn.ReLU(inplace=True),
    )


class Backbone(nn.Module):
    """Images float32 `(n, 1, height, width)` in 0 to 1 -> three feature maps with `widths` channels, at half, quarter
    and eighth size. The scene networks start with it.

    There is no level at full size: it would have few channels, and so take long for little arithmetic.
    """

    def __init__(self, widths: Sequence[int]):
        super().__init__()
        self.widths = half, quarter, eighth = tuple(widths)
        self.at_half = nn.Sequential(convolution(1, half, 2, kernel=5), convolution(half, half))
        self.at_quarter = nn.Sequential(
            convolution(half, quarter, 2), convolution(quarter, quarter), convolution(quarter, quarter)
        )
        self.at_eighth = nn.Sequential(
            convolution(quarter, eighth, 2), convolution(eighth, eighth), convolution(eighth, eighth)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        half = self.at_half(images.contiguous(memory_format=torch.channels_last))
        quarter = self.at_quarter(half)
        return half, quarter, self.at_eighth(quarter)


class UnitInterval(nn.Sigmoid):
    """A sigmoid in single precision, for pixels: in bfloat16, all values above 0.998 would be rounded to 1."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.float())


def strided(widths: Sequence[int]) -> list[nn.Module]:
    """Images `(n, 1, 28, 28)` -> `(n, widths[2] * 4 * 4)`, for networks that judge real and generated images.

    No batch norm, because its means would mix both kinds.
    """
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
