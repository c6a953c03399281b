"""Fakes by this pipeline's own generator and swap, for the detector of fakes to learn from and to be tested on."""

from __future__ import annotations

import numpy as np

from deepdigits import paths
from deepdigits.data.splits import Split
from deepdigits.evaluation.swapping import other_digits
from deepdigits.inference import load_network
from deepdigits.models.gan import Generator, draw_images
from deepdigits.models.swap import Swapper, swap_digits


def forge(split: Split, seed: int) -> np.ndarray:
    """One fake for each image, uint8 `(n, 28, 28)`: the even ones drawn from noise as the same digit, the odd ones
    swapped from the image to another."""
    generator, swapper = (load_network(paths.MODELS / name / "model.safetensors") for name in ("gan", "swap"))
    assert isinstance(generator, Generator)
    assert isinstance(swapper, Swapper)
    fakes = draw_images(generator, split.labels, seed)
    fakes[1::2] = swap_digits(swapper, split.images[1::2], other_digits(split.labels)[1::2])
    return fakes


def real_and_fake(split: Split, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 `(2 n, 28, 28)`, the real ones first, and which are fakes, int64 `(2 n,)`."""
    return np.concatenate([split.images, forge(split, seed)]), np.repeat(np.arange(2), len(split))
