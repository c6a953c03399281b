"""Pixels as bytes."""

from __future__ import annotations

import numpy as np


def to_bytes(images: np.ndarray) -> np.ndarray:
    """Floats from 0 to 1 to uint8 0 to 255, in the same shape; what lies beyond is cut off."""
    return np.asarray((images.clip(0, 1) * 255).round().astype(np.uint8))
