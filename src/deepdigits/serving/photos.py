"""The ink in pictures that people take, scan and draw, and the one digit in it.

Arrays of ink are uint8 `(height, width)`, bright on dark: 0 is the bare ground, 255 the ink at its strongest.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter
from scipy.ndimage import (
    binary_dilation,
    distance_transform_edt,
    find_objects,
    gaussian_filter,
    grey_closing,
    grey_opening,
    label,
    maximum_filter,
    minimum_filter,
)
from skimage.morphology import skeletonize

from deepdigits.serving.ruling import SEEN, without_lines

COARSE = 128  # pixels of the longer side at which the ground is looked for
WIDEST = 0.25  # of the longer side: what is narrower is a stroke, what is wider is ground or its shading
FAINTEST = 0.07  # of the ground's light: less contrast than this is no ink
LEAST = 12  # pixels of ink
WEAK, STRONG = 0.4, 0.6  # of the strongest ink: a stroke is what is weak and hangs together with what is strong
CENTER_RADIUS = 0.2  # of a digit's longer side: parts of it lie no farther apart
FINE = 80  # pixels of a digit's longer side while the width of its strokes is mended
THINNEST, THICKEST = 7.0, 15.0  # pixels of a stroke at that size; MNIST's are mostly between


class BadImageError(ValueError):
    """The upload is no picture that can be read; the message says why."""


def ink_of(grey: np.ndarray) -> np.ndarray:
    """What is drawn, in even light: dark on a bright ground or bright on a dark one.

    Args:
        grey: uint8 `(height, width)`.

    Returns:
        ink; all 0 where nothing stands out from the ground.
    """
    picture = Image.fromarray(grey)
    height, width = grey.shape
    scale = min(1.0, COARSE / max(grey.shape))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    coarse = np.asarray(picture.resize(size, Image.Resampling.BOX), np.float32)
    dark_ink, ground = _ground(coarse)
    light = np.asarray(Image.fromarray(ground).resize((width, height), Image.Resampling.BILINEAR))
    seen = np.asarray(picture.filter(ImageFilter.GaussianBlur(max(grey.shape) / 800)), np.float32)
    ink = (light - seen) / np.maximum(light, 1) if dark_ink else (seen - light) / np.maximum(255 - light, 1)
    floor = float(np.median(ink[::3, ::3]))
    peak = strongest(ink)
    if peak - floor < FAINTEST:
        return np.zeros_like(grey)
    return np.asarray((255 / (peak - floor) * (ink - floor)).clip(0, 255).astype(np.uint8))


def strongest(ink: np.ndarray) -> float:
    """The strength of the strongest ink, but for a few pixels; 0 where it does not stand out from the noise."""
    sample = ink[::3, ::3]
    floor = float(np.median(sample))
    noise = 1.4826 * float(np.median(np.abs(sample - floor)))
    found = ink[ink > floor + max(5 * noise, 1e-3)]
    return float(np.partition(found, -LEAST)[-LEAST]) if len(found) >= LEAST else 0.0


def _ground(grey: np.ndarray) -> tuple[bool, np.ndarray]:
    """Whether the ink is dark, and the picture without it.

    Closing takes dark strokes out of a picture and opening bright ones; both leave slopes and the edges of shadows
    where they are, as a mean would not. Around strokes there is more ground than ink: if most is of the brighter tone
    there, the ink is dark.
    """
    element = max(3, round(WIDEST * max(grey.shape)))
    padded, inner = np.pad(grey, element, mode="edge"), (slice(element, -element),) * 2
    closed, opened = (change(padded, (element, element))[inner] for change in (grey_closing, grey_opening))
    strokes = maximum_filter(np.maximum(closed - grey, grey - opened), element)
    low, high = minimum_filter(grey, element), maximum_filter(grey, element)
    tone = np.divide(grey - low, high - low, out=np.full_like(grey, 0.5), where=high > low)
    dark_ink = bool((strokes**2 * (tone - 0.5)).sum() >= 0)
    return dark_ink, np.asarray(gaussian_filter(closed if dark_ink else opened, 1))


def one_digit(ink: np.ndarray) -> np.ndarray:
    """The ink of the one digit in a picture, cut out, with strokes about as wide as MNIST's.

    Args:
        ink: of a whole picture.

    Returns:
        ink, either 0 or 255; the longer side is about `FINE`, the outermost rows and columns hold ink.

    Raises:
        BadImageError: there is no ink, or there are several digits.
    """
    ink = without_lines(ink)
    peak = strongest(ink)
    where, own = _digit(ink, peak)
    soft = np.where(binary_dilation(own, iterations=2), ink[where] * (255 / peak), 0).clip(0, 255).astype(np.uint8)
    scale = FINE / max(own.shape)
    size = max(1, round(own.shape[1] * scale)), max(1, round(own.shape[0] * scale))
    large = np.asarray(Image.fromarray(soft).resize(size, Image.Resampling.BICUBIC))
    strokes = _mended(np.pad(large, FINE // 8) > large.max() / 2)  # a hairline is pale when it is reduced
    rows, columns = np.flatnonzero(strokes.any(axis=1)), np.flatnonzero(strokes.any(axis=0))
    return np.uint8(255) * strokes[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.uint8)


def _digit(ink: np.ndarray, peak: float) -> tuple[tuple[slice, slice], np.ndarray]:
    """Where the one digit lies, and which pixels there are its own: bool `(height, width)`."""
    parts, count = label(ink > WEAK * peak, np.ones((3, 3)))
    strong = np.bincount(parts[ink > STRONG * peak], minlength=count + 1)[1:]
    areas = np.where(strong > 0, np.bincount(parts.ravel(), minlength=count + 1)[1:], 0)
    if peak < SEEN or not areas.any():  # strongest were lines, and noise is left
        raise BadImageError("there is no ink in the picture")
    boxes = np.array([[rows.start, columns.start, rows.stop, columns.stop] for rows, columns in find_objects(parts)])
    within = (boxes[:, :2] > 0).all(axis=1) & (boxes[:, 2:] < ink.shape).all(axis=1)
    if areas[within].sum() > 0.2 * areas.sum():  # what runs out of the picture is the edge of the sheet or a finger
        areas = np.where(within, areas, 0)
    group = _group(boxes, areas, int(areas.argmax()))
    if (areas[~group] > 0.3 * areas[group].sum()).any():
        raise BadImageError("there are several digits in the picture; send one each, or have them found by /v1/detect")
    top, left = boxes[group, :2].min(axis=0)
    bottom, right = boxes[group, 2:].max(axis=0)
    where = slice(int(top), int(bottom)), slice(int(left), int(right))
    return where, np.concatenate([[False], group])[parts[where]]


def _group(boxes: np.ndarray, areas: np.ndarray, first: int) -> np.ndarray:
    """Which parts belong to the part `first`: those within reach of it, of those, and so on."""
    group: np.ndarray = np.arange(len(boxes)) == first
    least = max(3, 0.01 * areas[first])
    while True:
        low, high = boxes[group, :2].min(axis=0), boxes[group, 2:].max(axis=0)
        gaps = np.maximum(boxes[:, :2] - high, low - boxes[:, 2:]).max(axis=1)
        near = group | ((gaps <= CENTER_RADIUS * (high - low).max()) & (areas >= least))
        if (near == group).all():
            return group
        group = near


def _mended(ink: np.ndarray) -> np.ndarray:
    """Strokes that are too thin or too thick, of a width that MNIST's have; bool in, bool out."""
    depth = distance_transform_edt(ink)
    width = 2 * float(np.median(depth[skeletonize(ink)]))
    if width < THINNEST:
        return np.asarray(distance_transform_edt(~ink) <= (THINNEST - width) / 2)
    if width > THICKEST:
        return np.asarray(depth > (width - THICKEST) / 2)
    return ink
