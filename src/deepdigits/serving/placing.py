"""Converts pictures of any size to the input that the scene networks expect."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Placed:
    """A picture as the network sees it: scaled by `scale`, with its upper left corner at (left, top) in the square."""

    image: np.ndarray
    scale: float = 1.0
    left: int = 0
    top: int = 0

    def back(self, box: np.ndarray) -> list[float]:
        """Convert a box to pixels of the original picture."""
        x, y, width, height = (float(value) for value in box)
        return [round(value / self.scale, 2) for value in (x - self.left, y - self.top, width, height)]


def place(ink: np.ndarray, side: int, longer: int) -> Placed:
    """Scale ink uint8 `(height, width)` to fit `(side, side)`, and fill the rest with the background at its border.

    Args:
        longer: the longer side of the upload in pixels; the ink may have been reduced.
    """
    height, width = ink.shape
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(Image.fromarray(ink).resize(size, Image.Resampling.LANCZOS))
    border = np.concatenate([ink[0], ink[-1], ink[:, 0], ink[:, -1]])
    canvas = np.full((side, side), int(np.median(border)), np.uint8)
    top, left = (side - small.shape[0]) // 2, (side - small.shape[1]) // 2
    canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    return Placed(canvas, side / longer, left, top)
