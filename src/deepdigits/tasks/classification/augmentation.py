"""Random distortion of a whole batch at once. All functions take and return float32 `(n, 1, height, width)`, ink 1 on
background 0, and draw from the given generator alone: equal states give equal results."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from deepdigits.tasks.classification.config import Augmentation

KERNEL_SIZES = (1, 3, 5, 7)


def augment(images: Tensor, generator: torch.Generator, config: Augmentation) -> Tensor:
    """Move every image a little, and change the texture of `config.textured_fraction` of them."""
    moved = random_affine(images, generator, config)
    return random_texture(moved, generator, config.textured_fraction) if config.textured_fraction else moved


def random_affine(images: Tensor, generator: torch.Generator, config: Augmentation) -> Tensor:
    """Rotate, shear, scale and move each image by its own random amount.

    Each amount is drawn uniformly within plus or minus its limit in `config`. Sampled bilinearly, 0 where it looks
    outside the image.
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


def random_texture(images: Tensor, generator: torch.Generator, fraction: float) -> Tensor:
    """Change how strokes and background look, not their shape, so that a network learns shape.

    Three changes, each on its own `fraction` of the images: a random convolution, half of the time in a random
    rectangle alone; gaussian noise of a standard deviation up to 0.4; a random rectangle erased with one grey level.
    Values may leave 0 to 1.
    """
    count = len(images)

    def chosen(share: float) -> Tensor:
        return torch.rand(count, 1, 1, 1, generator=generator) < share

    filtered = random_convolution(images, generator)
    where = random_rectangles(count, generator, 4.0, 21.0) | chosen(0.5)
    images = torch.where(where & chosen(fraction), filtered, images)
    strength = 0.4 * torch.rand(count, 1, 1, 1, generator=generator) * chosen(fraction)
    images = images + strength * torch.randn(images.shape, generator=generator)
    erased = random_rectangles(count, generator, 1.5, 8.5) & chosen(fraction)
    return torch.where(erased, torch.rand(count, 1, 1, 1, generator=generator), images)


def random_convolution(images: Tensor, generator: torch.Generator) -> Tensor:
    """Blend each image with its convolution by a random kernel of 1 to 7 pixels (Xu et al., 2021, arXiv:2007.13003)."""
    count = len(images)
    sizes = torch.tensor(KERNEL_SIZES)[torch.randint(len(KERNEL_SIZES), (count,), generator=generator)]
    inside = (torch.arange(7) - 3).abs() <= sizes[:, None] // 2
    kernels = torch.randn(count, 7, 7, generator=generator) / sizes[:, None, None]
    kernels = kernels * (inside[:, :, None] & inside[:, None, :])
    filtered = F.conv2d(images.transpose(0, 1), kernels.unsqueeze(1), padding=3, groups=count).transpose(0, 1)
    return torch.lerp(filtered, images, torch.rand(count, 1, 1, 1, generator=generator))


def random_rectangles(count: int, generator: torch.Generator, smallest: float, largest: float) -> Tensor:
    """Masks bool `(count, 1, 28, 28)`; the half-sides are drawn uniformly from `smallest` to `largest` pixels, the
    centres from the whole image."""
    centre = 28 * torch.rand(2, count, 1, generator=generator)
    half = smallest + (largest - smallest) * torch.rand(2, count, 1, generator=generator)
    inside = (torch.arange(28.0) - centre).abs() <= half
    return (inside[0, :, :, None] & inside[1, :, None, :]).unsqueeze(1)
