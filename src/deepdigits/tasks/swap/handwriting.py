"""Handwriting measurements, as in Morpho-MNIST (Castro et al., 2019, arXiv:1809.10780)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.ndimage import distance_transform_edt, label, zoom
from skimage.morphology import skeletonize

UPSCALED = 4  # the factor by which images are enlarged before thickness is measured
AT_ONCE = 500


def slants(images: np.ndarray) -> np.ndarray:
    """The slant of each digit in radians, positive to the right, from its second moments, `(n,)`.

    Args:
        images: uint8 `(n, 28, 28)`, ink 255 on background 0; an empty image has slant 0.
    """
    ink = images.astype(np.float64)
    total = ink.sum(axis=(1, 2)).clip(1)
    rows, columns = np.arange(ink.shape[1]), np.arange(ink.shape[2])
    across = columns - (ink.sum(axis=1) @ columns / total)[:, None]
    down = rows - (ink.sum(axis=2) @ rows / total)[:, None]
    mixed = np.einsum("nij,ni,nj->n", ink, down, across)
    height = np.einsum("nij,ni->n", ink, down**2)
    return np.asarray(np.arctan2(-mixed, height))


def thicknesses(images: np.ndarray) -> np.ndarray:
    """The mean stroke thickness of each digit in pixels, `(n,)`: twice the distance from skeleton to background.

    Args:
        images: as in `slants`; an empty image has thickness 0.
    """
    parts = [images[start : start + AT_ONCE] for start in range(0, len(images), AT_ONCE)]
    with ThreadPoolExecutor() as workers:
        return np.concatenate(list(workers.map(_thicknesses, parts)))


def strokes(images: np.ndarray) -> dict[str, float]:
    """How whole and how sharp the strokes are, as a flat dict of means over the images.

    `whole` is the share of images whose ink is in one piece, `holes` the number of background regions that ink
    encloses (0 and 6 have one, 8 has two), and `soft` the share of the ink's pixels that are neither dark nor bright:
    it is high where edges are blurred.

    Args:
        images: as in `slants`.
    """
    ink = images >= 128
    pieces = np.array([label(image, np.ones((3, 3)))[1] for image in ink])
    regions = np.array([label(image)[1] for image in np.pad(~ink, ((0, 0), (1, 1), (1, 1)), constant_values=True)])
    drawn, soft = images > 50, (images > 50) & (images < 205)
    return {
        "whole": float((pieces == 1).mean()),
        "holes": float((regions - 1).mean()),
        "soft": float(soft.sum() / max(1, drawn.sum())),
    }


def _thicknesses(images: np.ndarray) -> np.ndarray:
    # Stack the images vertically, with empty rows in between so that strokes of different images do not touch.
    apart = np.pad(images.astype(np.float32) / 255, ((0, 0), (1, 1), (1, 1)))
    ink = zoom(apart, (1, UPSCALED, UPSCALED), order=1, grid_mode=True, mode="grid-constant") >= 0.5
    column = ink.reshape(-1, ink.shape[2])
    skeleton = skeletonize(column)
    distance = np.where(skeleton, distance_transform_edt(column), 0).reshape(ink.shape)
    points = skeleton.reshape(ink.shape).sum(axis=(1, 2)).clip(1)
    return np.asarray(2 * distance.sum(axis=(1, 2)) / points / UPSCALED)
