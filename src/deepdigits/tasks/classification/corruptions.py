"""The fifteen corruptions of MNIST-C (Mu and Gilmer, 2019, arXiv:1906.02337), applied to whole batches.

Each is implemented from its published definition, at MNIST-C's severity. All take images float32 `(n, 28, 28)` in
[0, 1] and a random generator, from which every image draws its own values, and return the same shape. Values may leave
[0, 1] before `corrupt` clips them. The images match MNIST-C's in kind but not pixel by pixel, because the random
streams differ.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.feature import canny
from torch.nn import functional as F

from deepdigits.core.pixels import to_bytes

SIZE = 28
CENTRE = (SIZE - 1) / 2
FOG_MAP = 32  # side of the fog map, a power of two, from which the image-sized fog is cropped
APART = 8  # rows between images for `canny_edges`
COLUMNS = np.arange(SIZE, dtype=np.float64)

Floats = NDArray[np.floating]
Corruption = Callable[[Floats, np.random.Generator], Floats]


def corrupt(images: np.ndarray, name: str, seed: int) -> np.ndarray:
    """Apply the corruption `name` from `CORRUPTIONS` to uint8 images `(n, 28, 28)`; equal seeds give equal images."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return to_bytes(CORRUPTIONS[name](images.astype(np.float32) / 255, rng))


def shot_noise(images: Floats, rng: np.random.Generator) -> Floats:
    """Poisson noise from a low photon count: three at full brightness."""
    return rng.poisson(images * 3.0) / 3.0


def impulse_noise(images: Floats, rng: np.random.Generator) -> Floats:
    """Salt-and-pepper noise on 17 % of the pixels, half of it salt."""
    hit, salt = rng.random(images.shape) < 0.17, rng.random(images.shape) < 0.5
    return np.where(hit, salt, images)


def glass_blur(images: Floats, rng: np.random.Generator) -> Floats:
    """Blur, swap half of the pixels with a neighbour, twice, and blur again."""
    blurred = _blur(images, 0.7)
    rows = np.arange(len(images))
    for _ in range(2):
        for row in range(SIZE - 1, 1, -1):
            for column in range(SIZE - 1, 1, -1):
                swapped = rng.random(len(images)) < 0.5
                other_row = row + swapped * rng.integers(-1, 1, len(images))
                other_column = column + swapped * rng.integers(-1, 1, len(images))
                here = blurred[:, row, column].copy()
                blurred[:, row, column] = blurred[rows, other_row, other_column]
                blurred[rows, other_row, other_column] = here
    return _blur(blurred, 0.7)


def motion_blur(images: Floats, rng: np.random.Generator) -> Floats:
    """A one-sided Gaussian streak of 21 pixels with sigma 3, within 45 degrees of the horizontal."""
    angle = np.radians(rng.uniform(-45, 45, len(images)))
    steps = np.arange(21)
    weights = np.exp(-(steps**2) / (2 * 3.0**2))
    weights /= weights.sum()
    image, row, column = np.ogrid[: len(images), :SIZE, :SIZE]
    out = np.zeros_like(images)
    for step, weight in zip(steps, weights, strict=True):
        down = np.rint(step * np.sin(angle)).astype(int)[:, None, None]
        right = np.rint(step * np.cos(angle)).astype(int)[:, None, None]
        out += weight * images[image, (row + down).clip(0, SIZE - 1), (column + right).clip(0, SIZE - 1)]
    return out


def shear(images: Floats, rng: np.random.Generator) -> Floats:
    """Shear by 0.4 radians in either direction."""
    angle = 0.4 * _signs(rng, len(images))
    ones = np.ones_like(angle)
    return _warp(images, np.stack([ones, -np.sin(angle), 0 * ones, np.cos(angle)], axis=1))


def scale(images: Floats, rng: np.random.Generator) -> Floats:
    """Shrink to 70 %."""
    return _warp(images, np.tile([1 / 0.7, 0, 0, 1 / 0.7], (len(images), 1)))


def rotate(images: Floats, rng: np.random.Generator) -> Floats:
    """Rotate by 0.4 radians (23 degrees) in either direction."""
    angle = 0.4 * _signs(rng, len(images))
    return _warp(images, np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=1))


def brightness(images: Floats, rng: np.random.Generator) -> Floats:
    """Add half of full brightness."""
    return np.asarray(images + 0.5)


def translate(images: Floats, rng: np.random.Generator) -> Floats:
    """Translate by three pixels along each axis."""
    identity = np.tile([1.0, 0, 0, 1], (len(images), 1))
    return _warp(images, identity, 3 * np.stack([_signs(rng, len(images)) for _ in range(2)], axis=1))


def stripe(images: Floats, rng: np.random.Generator) -> Floats:
    """Invert the outer quarters, leaving a stripe down the middle."""
    outer = (COLUMNS < 7) | (COLUMNS >= 21)
    return np.where(outer, 1 - images, images)


def fog(images: Floats, rng: np.random.Generator) -> Floats:
    """Add three times a plasma fractal, and rescale to the image's own maximum."""
    brightest = images.max(axis=(1, 2), keepdims=True)
    clouds = _plasma(rng, len(images), decay=1.4)[:, :SIZE, :SIZE]
    return np.asarray((images + 3.0 * clouds) * brightest / (brightest + 3.0))


def spatter(images: Floats, rng: np.random.Generator) -> Floats:
    """Dark grey splashes where blurred noise is high."""
    liquid = _blur(rng.normal(0.65, 0.3, images.shape), 1.0)
    splash = _blur((liquid > 0.65).astype(np.float64), 1.5)
    splash[splash < 0.8] = 0
    return images * (1 - splash) + 63 / 255 * splash


def dotted_line(images: Floats, rng: np.random.Generator) -> Floats:
    """A line from edge to edge, alternating two drawn and two skipped pixels."""
    start, end = rng.integers(0, 27, (2, len(images)))
    line = _line(np.zeros(len(images)), start, np.full(len(images), 27.0), end)
    line[:, :, (COLUMNS % 4) < 2] = 0
    return images + line


def zigzag(images: Floats, rng: np.random.Generator) -> Floats:
    """A zigzag of amplitude two around a line from column 2 to column 25."""
    first_column, last_column, half_period = 2, 25, 2.0
    start = rng.integers(0, 27, len(images))
    end = start + rng.integers(-5, 5, len(images))
    angle = np.arctan((end - start) / (last_column - first_column))
    length = (last_column - first_column) / np.cos(angle)  # 23.0 to 23.6: six peaks and a short last segment
    along = [0 * length, *((2 * peak + 1) * half_period + 0 * length for peak in range(6)), length]
    across = [0 * length, *((-1) ** peak * 2.0 + 0 * length for peak in range(6)), -1 / (length - 20)]
    xs = [first_column + np.cos(angle) * u - np.sin(angle) * v for u, v in zip(along, across, strict=True)]
    ys = [start + np.sin(angle) * u + np.cos(angle) * v for u, v in zip(along, across, strict=True)]
    out = images.astype(np.float64)
    for index in range(len(xs) - 1):
        out = (out + _line(xs[index], ys[index], xs[index + 1], ys[index + 1])).clip(0, 1)
    return out


def canny_edges(images: Floats, rng: np.random.Generator) -> Floats:
    """Only the edges (Canny, 1986), with sigma 1."""
    # One call for all images, stacked vertically, is several times as fast as one for each. The rows between them are
    # masked and wider than the filters. Only edges at an image's border can differ from those that it has alone.
    apart = ((0, 0), (0, APART), (0, 0))
    stacked, inside = np.pad(images, apart), np.pad(np.ones(images.shape, bool), apart)
    edges = canny(stacked.reshape(-1, SIZE), mask=inside.reshape(-1, SIZE))
    return np.asarray(edges.reshape(stacked.shape)[:, :SIZE], np.float32)


CORRUPTIONS: dict[str, Corruption] = {
    corruption.__name__: corruption
    for corruption in (
        shot_noise, impulse_noise, glass_blur, motion_blur, shear, scale, rotate, brightness, translate,
        stripe, fog, spatter, dotted_line, zigzag, canny_edges,
    )
}  # fmt: skip


def _signs(rng: np.random.Generator, count: int) -> Floats:
    return rng.choice([-1.0, 1.0], count)


def _blur(images: Floats, sigma: float) -> Floats:
    return np.asarray(gaussian_filter(images, (0, sigma, sigma), mode="nearest"))


def _warp(images: Floats, matrices: Floats, move: Floats | None = None) -> Floats:
    """Sample each output pixel at its offset (x, y) from the centre, mapped by `matrices` `(n, 4)`, plus `move`."""
    shift = np.zeros((len(images), 2)) if move is None else move / CENTRE
    theta = np.concatenate([matrices.reshape(-1, 2, 2), shift[:, :, None]], axis=2)
    grid = F.affine_grid(torch.from_numpy(theta).float(), [len(images), 1, SIZE, SIZE], align_corners=True)
    sampled = F.grid_sample(torch.from_numpy(images).unsqueeze(1), grid, padding_mode="zeros", align_corners=True)
    return np.asarray(sampled.squeeze(1).numpy())


def _line(x0: Floats, y0: Floats, x1: Floats, y1: Floats) -> Floats:
    """Soft lines `(n, 28, 28)`; brightness falls with vertical distance and reaches 0 at about 1.5 pixels."""
    slope = (y1 - y0) / (x1 - x0)
    height = y0[:, None] + slope[:, None] * (COLUMNS - x0[:, None])
    distance = np.abs(COLUMNS[None, :, None] - height[:, None, :]).clip(0, 2.3 - 1e-10)
    line = (np.log(1 - distance / 2.3) + 1).clip(0, 1)
    inside = (np.floor(x0)[:, None] <= COLUMNS) & (np.ceil(x1)[:, None] > COLUMNS)
    return np.asarray(line * inside[:, None, :])


def _plasma(rng: np.random.Generator, count: int, decay: float) -> Floats:
    """Clouds `(count, 32, 32)` in [0, 1] from the diamond-square algorithm (Fournier et al., 1982) on a torus."""
    clouds = np.zeros((count, FOG_MAP, FOG_MAP))
    step, roughness = FOG_MAP, 100.0
    while step >= 2:
        half = step // 2

        def mean_of_four(total: Floats, spread: float = roughness) -> Floats:
            return np.asarray(total / 4 + spread * rng.uniform(-spread, spread, total.shape))

        corners = clouds[:, ::step, ::step]
        above = corners + np.roll(corners, -1, axis=1)
        clouds[:, half::step, half::step] = mean_of_four(above + np.roll(above, -1, axis=2))
        centres, corners = clouds[:, half::step, half::step], clouds[:, ::step, ::step]
        beside = centres + np.roll(centres, 1, axis=1) + corners + np.roll(corners, -1, axis=2)
        clouds[:, ::step, half::step] = mean_of_four(beside)
        below = centres + np.roll(centres, 1, axis=2) + corners + np.roll(corners, -1, axis=1)
        clouds[:, half::step, ::step] = mean_of_four(below)
        step, roughness = half, roughness / decay
    clouds -= clouds.min(axis=(1, 2), keepdims=True)
    return np.asarray(clouds / clouds.max(axis=(1, 2), keepdims=True))
