"""Finds the ink in photos, scans and drawings, and the one digit in it.

Ink arrays are uint8 `(height, width)`, bright on dark: 0 is the bare background, 255 the strongest ink.
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

COARSE = 128  # pixels of the longer side when estimating the background
WIDEST = 0.25  # fraction of the longer side: anything narrower is a stroke, anything wider is background or shading
FAINTEST = 0.07  # fraction of the background's light: anything with less contrast is not ink
LEAST = 12  # pixels of ink that a picture must have
WEAK, STRONG = 0.4, 0.6  # fractions of the strongest ink: a stroke is weak ink connected to strong ink
CENTER_RADIUS = 0.2  # fraction of a digit's longer side: its parts are no farther apart than this
FINE = 80  # pixels of a digit's longer side while its stroke width is adjusted
THINNEST, THICKEST = 7.0, 15.0  # stroke width in pixels at that size; MNIST's is mostly in between


class BadImageError(ValueError):
    """The upload is not a readable picture; the message says why."""


def ink_of(grey: np.ndarray) -> np.ndarray:
    """Extract evenly lit ink, whether it is dark on a bright background or bright on a dark one.

    Args:
        grey: uint8 `(height, width)`.

    Returns:
        ink; all 0 if nothing stands out from the background.
    """
    picture = Image.fromarray(grey)
    height, width = grey.shape
    scale = min(1.0, COARSE / max(grey.shape))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    coarse = np.asarray(picture.resize(size, Image.Resampling.BOX), np.float32)
    dark_ink, background = _background(coarse)
    light = np.asarray(Image.fromarray(background).resize((width, height), Image.Resampling.BILINEAR))
    seen = np.asarray(picture.filter(ImageFilter.GaussianBlur(max(grey.shape) / 800)), np.float32)
    ink = (light - seen) / np.maximum(light, 1) if dark_ink else (seen - light) / np.maximum(255 - light, 1)
    floor = float(np.median(ink[::3, ::3]))
    peak = strongest(ink)
    if peak - floor < FAINTEST:
        return np.zeros_like(grey)
    return np.asarray((255 / (peak - floor) * (ink - floor)).clip(0, 255).astype(np.uint8))


def strongest(ink: np.ndarray) -> float:
    """The strength of the strongest ink, ignoring a few pixels; 0 if it does not stand out from the noise."""
    sample = ink[::3, ::3]
    floor = float(np.median(sample))
    noise = 1.4826 * float(np.median(np.abs(sample - floor)))
    found = ink[ink > floor + max(5 * noise, 1e-3)]
    return float(np.partition(found, -LEAST)[-LEAST]) if len(found) >= LEAST else 0.0


def _background(grey: np.ndarray) -> tuple[bool, np.ndarray]:
    """Return whether the ink is dark, and the picture without the ink.

    Grey closing removes dark strokes and opening removes bright ones. Unlike a mean, both keep slopes and the edges of
    shadows in place. Around strokes there is more background than ink, so the ink is dark if most of the area there has
    the brighter tone.
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
    """Cut out the ink of the one digit in a picture, with strokes about as wide as MNIST's.

    Args:
        ink: ink of the whole picture.

    Returns:
        ink, either 0 or 255. The longer side is about `FINE`; the outermost rows and columns contain ink.

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
    strokes = _with_mnist_stroke_width(np.pad(large, FINE // 8) > large.max() / 2)  # hairlines turn pale when reduced
    rows, columns = np.flatnonzero(strokes.any(axis=1)), np.flatnonzero(strokes.any(axis=0))
    return np.uint8(255) * strokes[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.uint8)


def _digit(ink: np.ndarray, peak: float) -> tuple[tuple[slice, slice], np.ndarray]:
    """Return where the one digit lies, and a mask of its own pixels there: bool `(height, width)`."""
    parts, count = label(ink > WEAK * peak, np.ones((3, 3)))
    strong = np.bincount(parts[ink > STRONG * peak], minlength=count + 1)[1:]
    areas = np.where(strong > 0, np.bincount(parts.ravel(), minlength=count + 1)[1:], 0)
    if peak < SEEN or not areas.any():  # the strongest ink was ruled lines; only noise is left
        raise BadImageError("there is no ink in the picture")
    boxes = np.array([[rows.start, columns.start, rows.stop, columns.stop] for rows, columns in find_objects(parts)])
    within = (boxes[:, :2] > 0).all(axis=1) & (boxes[:, 2:] < ink.shape).all(axis=1)
    if areas[within].sum() > 0.2 * areas.sum():  # ink that touches the border is the edge of the sheet or a finger
        areas = np.where(within, areas, 0)
    group = _group(boxes, areas, int(areas.argmax()))
    if (areas[~group] > 0.3 * areas[group].sum()).any():
        raise BadImageError("there are several digits in the picture; send one each, or use /v1/detect")
    top, left = boxes[group, :2].min(axis=0)
    bottom, right = boxes[group, 2:].max(axis=0)
    where = slice(int(top), int(bottom)), slice(int(left), int(right))
    return where, np.concatenate([[False], group])[parts[where]]


def _group(boxes: np.ndarray, areas: np.ndarray, first: int) -> np.ndarray:
    """Mask of the parts that belong to part `first`: those within its reach, those within theirs, and so on."""
    group: np.ndarray = np.arange(len(boxes)) == first
    least = max(3, 0.01 * areas[first])
    while True:
        low, high = boxes[group, :2].min(axis=0), boxes[group, 2:].max(axis=0)
        gaps = np.maximum(boxes[:, :2] - high, low - boxes[:, 2:]).max(axis=1)
        near = group | ((gaps <= CENTER_RADIUS * (high - low).max()) & (areas >= least))
        if (near == group).all():
            return group
        group = near


def _with_mnist_stroke_width(ink: np.ndarray) -> np.ndarray:
    """Bring strokes that are too thin or too thick to a width found in MNIST; bool in, bool out."""
    depth = distance_transform_edt(ink)
    width = 2 * float(np.median(depth[skeletonize(ink)]))
    if width < THINNEST:
        return np.asarray(distance_transform_edt(~ink) <= (THINNEST - width) / 2)
    if width > THICKEST:
        return np.asarray(depth > (width - THICKEST) / 2)
    return ink
