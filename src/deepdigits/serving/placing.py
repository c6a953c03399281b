"""Pictures of any size to what the networks for scenes expect."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Placed:
    """A picture as the network sees it: scaled by `scale`, with its corner at (left, top) of the network's square."""

    image: np.ndarray
    scale: float = 1.0
    left: int = 0
    top: int = 0

    def back(self, box: np.ndarray) -> list[float]:
        """A box in pixels of the picture itself."""
        x, y, width, height = (float(value) for value in box)
        return [round(value / self.scale, 2) for value in (x - self.left, y - self.top, width, height)]


def place(ink: np.ndarray, side: int, longer: int) -> Placed:
    """Scale ink uint8 `(height, width)` so that it fits `(side, side)`, and fill up with the ground at its border.

    Args:
        longer: pixels of the upload's longer side; the ink may have been reduced.
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
