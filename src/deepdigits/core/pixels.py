"""Conversion of pixels to bytes."""

from __future__ import annotations

import numpy as np


def to_bytes(images: np.ndarray) -> np.ndarray:
    """Convert floats in 0 to 1 to uint8 in 0 to 255, in the same shape. Values outside the range are clipped."""
    return np.asarray((images.clip(0, 1) * 255).round().astype(np.uint8))
