"""Create fakes with this pipeline's own generator and swap, for training and testing the fake detector."""

from __future__ import annotations

import numpy as np

from deepdigits.core.measures import weights_file
from deepdigits.data.digits.splits import Split
from deepdigits.tasks.gan.network import draw_images, load_generator
from deepdigits.tasks.swap.network import load_swapper, other_digits, swap_digits


def make_fakes(split: Split, seed: int) -> np.ndarray:
    """Create one fake per image, uint8 `(n, 28, 28)`.

    Those at even indices show the same digit, generated from noise; those at odd indices swap the image to another
    digit.
    """
    generator, swapper = load_generator(weights_file("gan")), load_swapper(weights_file("swap"))
    fakes = draw_images(generator, split.labels, seed)
    fakes[1::2] = swap_digits(swapper, split.images[1::2], other_digits(split.labels, swapper.config.gan.classes)[1::2])
    return fakes


def real_and_fake(split: Split, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images uint8 `(2 n, 28, 28)`, the real ones first, and whether each is a fake, int64 `(2 n,)`, 1 or 0."""
    return np.concatenate([split.images, make_fakes(split, seed)]), np.repeat(np.arange(2), len(split))
