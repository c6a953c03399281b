"""Check whether labels fit their images by comparing each image with its nearest neighbour in train."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from deepdigits.data.digits.splits import Split

SAMPLE = 2500  # images checked per split: enough to detect 2 % wrong labels, within a few seconds
CHUNK = 500


def label_disagreement(splits: Mapping[str, Split]) -> dict[str, float]:
    """The share of each split's images, 0 to 1, whose nearest other image in train has a different label.

    Mislabelling a share `e` of the split or of train raises it by about `e`. The result is the same on every processor:
    distances are computed on sums of 2x2 pixels, which are integers that double precision represents exactly.
    """
    train = splits["train"]
    known = _coarse(train.images)
    squares = (known**2).sum(axis=1)
    return {name: _disagreement(split, train, known, squares, name == "train") for name, split in splits.items()}


def _disagreement(split: Split, train: Split, known: np.ndarray, squares: np.ndarray, is_train: bool) -> float:
    rows = np.unique(np.linspace(0, len(split) - 1, min(SAMPLE, len(split))).astype(np.int64))
    wrong = 0
    for chosen in np.array_split(rows, max(1, len(rows) // CHUNK)):
        distances = squares - 2 * _coarse(split.images[chosen]) @ known.T
        if is_train:
            distances[np.arange(len(chosen)), chosen] = np.inf
        wrong += int((train.labels[distances.argmin(axis=1)] != split.labels[chosen]).sum())
    return wrong / len(rows)


def _coarse(images: np.ndarray) -> np.ndarray:
    """Sum blocks of 2x2 pixels: uint8 `(n, 28, 28)` -> float64 `(n, 196)`."""
    sums = images.reshape(len(images), 14, 2, 14, 2).sum(axis=(2, 4), dtype=np.float64)
    return np.asarray(sums.reshape(len(images), 196))
