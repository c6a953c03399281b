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
    """Images float32 `(n, 1, height, width)` in 0 to 1 -> four feature maps with `widths` channels, at full, half,
    quarter and eighth size. The scene networks start with it.
    """

    def __init__(self, widths: Sequence[int]):
        super().__init__()
        self.widths = first, second, third, fourth = tuple(widths)
        self.level1 = convolution(1, first)
        self.level2 = nn.Sequential(convolution(first, second, 2), convolution(second, second))
        self.level3 = nn.Sequential(convolution(second, third, 2), convolution(third, third), convolution(third, third))
        self.level4 = nn.Sequential(
            convolution(third, fourth, 2), convolution(fourth, fourth), convolution(fourth, fourth)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        one = self.level1(images.contiguous(memory_format=torch.channels_last))
        two = self.level2(one)
        three = self.level3(two)
        return one, two, three, self.level4(three)


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
