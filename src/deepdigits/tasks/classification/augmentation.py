"""Random distortions, applied to a whole batch at once.

All functions take and return float32 `(n, 1, height, width)`, ink 1 on background 0. They draw only from the given
generator, so equal generator states give equal results. The generator is the CPU's, and what it draws is moved to the
images, so that every device distorts them alike.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from deepdigits.tasks.classification.config import Augmentation

KERNEL_SIZES = (1, 3, 5, 7)


def augment(images: Tensor, generator: torch.Generator, config: Augmentation) -> Tensor:
    """Apply a small affine distortion to every image, and change the texture of a share `config.textured_fraction`.

    If `config.mirror`, a random half is also mirrored from left to right.
    """
    if config.mirror:
        mirrored = torch.rand(len(images), 1, 1, 1, generator=generator).to(images.device) < 0.5
        images = torch.where(mirrored, images.flip(3), images)
    moved = random_affine(images, generator, config)
    return random_texture(moved, generator, config.textured_fraction) if config.textured_fraction else moved


def random_affine(images: Tensor, generator: torch.Generator, config: Augmentation) -> Tensor:
    """Rotate, shear, scale and translate each image by its own random amount.

    Each amount is drawn uniformly within plus or minus its limit in `config`. Sampling is bilinear and reads 0 outside
    the image.
    """
    count, _, height, width = images.shape
    draws = 2 * torch.rand(5, count, generator=generator).to(images.device) - 1
    angle = draws[0] * math.radians(config.rotate_degrees)
    shear = torch.tan(draws[1] * math.radians(config.shear_degrees))
    scale = 1 + draws[2] * config.scale_fraction
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    # In the coordinates of grid_sample, the image spans -1 to 1.
    move_x = draws[3] * config.translate_pixels * 2 / width
    move_y = draws[4] * config.translate_pixels * 2 / height
    theta = torch.stack([cos, shear * cos - sin, move_x, sin, shear * sin + cos, move_y], dim=1)
    grid = F.affine_grid(theta.view(count, 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def random_texture(images: Tensor, generator: torch.Generator, fraction: float) -> Tensor:
    """Change the texture of strokes and background but not their shape, so that a network learns shape.

    There are three changes, each applied to its own random `fraction` of the images: a random convolution, half of the
    time only within a random rectangle; Gaussian noise with a standard deviation of up to 0.4; a random rectangle
    filled with one grey level. Values may leave [0, 1].
    """
    count, device = len(images), images.device

    def draw() -> Tensor:
        return torch.rand(count, 1, 1, 1, generator=generator).to(device)

    filtered = random_convolution(images, generator)
    where = random_rectangles(count, generator, 4.0, 21.0, device) | (draw() < 0.5)
    images = torch.where(where & (draw() < fraction), filtered, images)
    strength = 0.4 * draw() * (draw() < fraction)
    images = images + strength * torch.randn(images.shape, generator=generator).to(device)
    erased = random_rectangles(count, generator, 1.5, 8.5, device) & (draw() < fraction)
    return torch.where(erased, draw(), images)


def random_convolution(images: Tensor, generator: torch.Generator) -> Tensor:
    """Blend each image with its convolution by a random 1x1 to 7x7 kernel (Xu et al., 2021, arXiv:2007.13003)."""
    count = len(images)
    sizes = torch.tensor(KERNEL_SIZES)[torch.randint(len(KERNEL_SIZES), (count,), generator=generator)]
    inside = (torch.arange(7) - 3).abs() <= sizes[:, None] // 2
    kernels = torch.randn(count, 7, 7, generator=generator) / sizes[:, None, None]
    kernels = (kernels * (inside[:, :, None] & inside[:, None, :])).to(images.device)
    filtered = F.conv2d(images.transpose(0, 1), kernels.unsqueeze(1), padding=3, groups=count).transpose(0, 1)
    return torch.lerp(filtered, images, torch.rand(count, 1, 1, 1, generator=generator).to(images.device))


def random_rectangles(
    count: int, generator: torch.Generator, smallest: float, largest: float, device: torch.device
) -> Tensor:
    """Draw masks, bool `(count, 1, 28, 28)`.

    Half-sides are uniform between `smallest` and `largest` pixels, centres are uniform over the image.
    """
    centre = 28 * torch.rand(2, count, 1, generator=generator).to(device)
    half = smallest + (largest - smallest) * torch.rand(2, count, 1, generator=generator).to(device)
    inside = (torch.arange(28.0, device=device) - centre).abs() <= half
    return (inside[0, :, :, None] & inside[1, :, None, :]).unsqueeze(1)
