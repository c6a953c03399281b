"""Measures a labelled source: classes, duplicates within and across splits, images that look alike."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import imagehash
import numpy as np
from PIL import Image

from deepdigits.data.own.labelled import Labelled

FEW = 20  # images of a class
ALIKE_BITS = 4  # of 256 that may differ between the perceptual hashes of two images that look alike
HASH_SIDE = 16
SHOWN = 8


@dataclass(frozen=True)
class Findings:
    """What was found in a source.

    Attributes:
        counts: class -> number of images.
        errors: what must be resolved before training, one sentence each.
        warnings: what a person should look at.
        alike: rows of pairs of images that look alike, `(k, 2)`, without exact duplicates.
    """

    counts: Mapping[str, int]
    errors: list[str]
    warnings: list[str]
    alike: np.ndarray


def examine(data: Labelled) -> Findings:
    """Measure a source as it is, before it is split."""
    counts = dict(zip(data.classes, np.bincount(data.labels, minlength=len(data.classes)).tolist(), strict=True))
    errors = list(_duplicates(data))
    warnings = [f"class {name!r} has only {count} images" for name, count in counts.items() if count < FEW]
    alike = pairs_alike(data.images)
    if len(alike):
        across = sum(data.labels[a] != data.labels[b] for a, b in alike)
        warnings.append(
            f"{len(alike)} pairs of images look alike, {across} of them with different labels, e.g. "
            f"{data.names[alike[0, 0]]} and {data.names[alike[0, 1]]}"
        )
    largest = max(counts.values()) / max(1, len(data))
    if largest > 1.5 / len(counts):
        warnings.append(
            f"classes are uneven: always answering {max(counts, key=lambda name: counts[name])!r} would be right for "
            f"{largest:.1%}"
        )
    return Findings(counts, errors, warnings, alike)


def _duplicates(data: Labelled) -> Iterable[str]:
    """Exact duplicates: under two labels, in two splits, and within a split."""
    places: dict[str, list[int]] = {}
    for row, image in enumerate(data.images):
        places.setdefault(hashlib.sha256(image.tobytes()).hexdigest(), []).append(row)
    faults: dict[str, list[list[int]]] = {"with different labels": [], "in two splits": [], "more than once": []}
    for rows in places.values():
        if len(set(data.labels[rows])) > 1:
            faults["with different labels"].append(rows)
        elif data.splits is not None and len(set(data.splits[rows])) > 1:
            faults["in two splits"].append(rows)
        elif len(rows) > 1:
            faults["more than once"].append(rows)
    for what, found in faults.items():
        if found:
            shown = "; ".join(" and ".join(data.names[row] for row in rows[:3]) for rows in found[:SHOWN])
            several = "1 image appears" if len(found) == 1 else f"{len(found)} images appear"
            yield f"{several} {what}: {shown}"


def pairs_alike(images: np.ndarray) -> np.ndarray:
    """Pairs of different images whose perceptual hashes (ImageHash's pHash) almost agree, int64 `(k, 2)`.

    Each image is compared with those whose hash agrees in one of four quarters: two hashes that differ in fewer bits
    than there are quarters agree in at least one of them, and few others do.
    """
    bits = np.stack([imagehash.phash(Image.fromarray(image), HASH_SIDE, 2).hash.ravel() for image in images])
    packed = np.packbits(bits, axis=1)
    same: set[tuple[int, int]] = set()
    parts = ALIKE_BITS + 1
    for columns in np.array_split(np.arange(packed.shape[1]), parts):
        buckets: dict[bytes, list[int]] = {}
        for row, key in enumerate(packed[:, columns]):
            buckets.setdefault(key.tobytes(), []).append(row)
        for rows in buckets.values():
            if 1 < len(rows) <= 1000:
                same.update(_near(bits, np.array(rows)))
    kept = [pair for pair in sorted(same) if not np.array_equal(images[pair[0]], images[pair[1]])]
    return np.array(kept, np.int64).reshape(-1, 2)


def _near(bits: np.ndarray, rows: np.ndarray) -> Iterable[tuple[int, int]]:
    differing = (bits[rows][:, None] != bits[rows][None]).sum(axis=2)
    first, second = np.nonzero(np.triu(differing <= ALIKE_BITS, k=1))
    return zip(rows[first].tolist(), rows[second].tolist(), strict=True)
