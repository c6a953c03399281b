"""Random affine distortion of a whole batch in one operation."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from deepdigits.config import Augmentation


def random_affine(images: Tensor, generator: torch.Generator, config: Augmentation) -> Tensor:
    """Rotate, shear, scale and move each image by its own random amount.

    Args:
        images: float32 `(n, 1, height, width)`; the background is 0.
        generator: the source of randomness; equal states give equal results.
        config: the largest amount of each distortion; each is drawn uniformly within plus or minus it.

    Returns:
        float32 of the same shape, sampled bilinearly, 0 where it looks outside the image.
    """
    count, _, height, width = images.shape
    draws = 2 * torch.rand(5, count, generator=generator) - 1
    angle = draws[0] * math.radians(config.rotate_degrees)
    shear = torch.tan(draws[1] * math.radians(config.shear_degrees))
    scale = 1 + draws[2] * config.scale_fraction
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    # grid_sample measures in half-widths: the image spans -1 to 1.
    move_x = draws[3] * config.translate_pixels * 2 / width
    move_y = draws[4] * config.translate_pixels * 2 / height
    theta = torch.stack([cos, shear * cos - sin, move_x, sin, shear * sin + cos, move_y], dim=1)
    grid = F.affine_grid(theta.view(count, 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
