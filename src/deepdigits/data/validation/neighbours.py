"""Do labels fit their images? Each image is asked for the one that looks most like it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from deepdigits.data.digits.splits import Split

SAMPLE = 2500  # images of a split that are asked: enough to see two wrong labels in a hundred, in a few seconds
CHUNK = 500


def label_disagreement(splits: Mapping[str, Split]) -> dict[str, float]:
    """The share of each split's images, 0 to 1, whose nearest image in train, itself aside, has another label.

    Wrong labels in a share `e` of either add about `e` to it. It is the same on every processor: distances are those of
    sums of 2x2 pixels, whole numbers which double precision holds exactly.
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
    """uint8 `(n, 28, 28)` to float64 `(n, 196)`: the sums of 2x2 pixels."""
    sums = images.reshape(len(images), 14, 2, 14, 2).sum(axis=(2, 4), dtype=np.float64)
    return np.asarray(sums.reshape(len(images), 196))
