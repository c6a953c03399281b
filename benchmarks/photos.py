"""Measures how many photographed, scanned and drawn digits the CNN reads correctly.

Run `python -m benchmarks.photos` after `make repro`. The pictures are made from test digits. The preprocessing was
developed on pictures made from training digits with other seeds.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from torch import nn

from benchmarks.common import Row, record, split
from benchmarks.photo_set import Photo, photos
from deepdigits.core import paths
from deepdigits.ops.exit import exits_cleanly
from deepdigits.serving.images import SIZE, as_mnist, decode
from deepdigits.serving.photos import BadImageError
from deepdigits.tasks.classification.inference import probabilities
from deepdigits.tasks.cnn.network import load_cnn

COUNT, SEED = 1200, 2026
SURE = 0.9


@dataclass(frozen=True)
class Read:
    """The outcome for each picture: bool `(n,)` each. A refused picture is neither right nor sure."""

    right: np.ndarray
    sure: np.ndarray
    refused: np.ndarray
    milliseconds: float  # CPU time to preprocess one picture


@exits_cleanly
def main() -> None:
    test = split("test")
    drawn = list(photos(test, COUNT, SEED))
    network = load_cnn(paths.MODELS / "cnn" / "model.safetensors")
    read = read_all(drawn, network)
    clean = probabilities(network, test.images[[photo.source for photo in drawn]])
    right_clean = float((clean.argmax(axis=1) == [photo.label for photo in drawn]).mean())
    wrong = int((~read.right).sum())
    wrong_and_sure = int((~read.right & read.sure).sum())
    rows = [
        Row(
            f"read correctly, of {COUNT:,} pictures made from test digits",
            f"{read.right.mean():.2%} ({int(read.refused.sum())} refused)",
            f"{right_clean:.2%} (the same digits in MNIST)",
            "",
            ">= 98 %",
            bool(read.right.mean() >= 0.98),
        ),
        Row(
            f"wrong with p > {SURE}, of those not read correctly",
            f"{wrong_and_sure} of {wrong}",
            "",
            "",
            "< 1 in 10",
            10 * wrong_and_sure < wrong,
        ),
        Row("time to find the digit in a picture", f"{read.milliseconds:.0f} ms of one core", "", "", "reported", True),
    ]
    record("photos", rows + by_kind(drawn, read))


def read_all(drawn: list[Photo], network: nn.Module) -> Read:
    """Preprocess the pictures as the server does, and classify them."""
    images = np.zeros((len(drawn), SIZE, SIZE), np.uint8)
    refused = np.zeros(len(drawn), bool)
    start = time.process_time()
    for row, photo in enumerate(drawn):
        try:
            images[row] = as_mnist(decode(photo.data))
        except BadImageError:
            refused[row] = True
    milliseconds = 1000 * (time.process_time() - start) / len(drawn)
    found = probabilities(network, images)
    right = (found.argmax(axis=1) == [photo.label for photo in drawn]) & ~refused
    return Read(right, (found.max(axis=1) > SURE) & ~refused, refused, milliseconds)


def by_kind(drawn: list[Photo], read: Read) -> list[Row]:
    """The fraction read correctly for each background, light, pen and so on."""
    rows: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for row, photo in enumerate(drawn):
        for trait in photo.traits.items():
            rows[trait].append(row)
    return [
        Row(f"{name}: {value}", f"{read.right[of].mean():.1%} of {len(of)}", "", "", "reported", True)
        for (name, value), of in sorted(rows.items())
    ]


if __name__ == "__main__":
    main()
