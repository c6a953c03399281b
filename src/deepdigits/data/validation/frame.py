"""The three pandas frames of image statistics that are validated before training."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from deepdigits.data.digits.splits import Split

INK = 127  # a pixel above this counts as ink
CHUNK = 10_000


def image_frame(splits: Mapping[str, Split]) -> pd.DataFrame:
    """Build a frame with one row per image.

    Columns: `image` (split/index), `split`, `index`, `label`; pixel statistics on the 0 to 255 scale: `mean`, `std`,
    `low`, `high`, and `ink` (share above 127); `top`, `bottom`, `left`, `right` (bounding box of all non-zero pixels,
    -1 if blank); `center_row`, `center_column` (centre of mass, -1 if blank); `sha256` of the pixels.
    """
    return pd.concat([_split_frame(name, split) for name, split in splits.items()], ignore_index=True)


def _split_frame(name: str, split: Split) -> pd.DataFrame:
    parts = [split.images[start : start + CHUNK] for start in range(0, len(split), CHUNK)]
    measured = pd.concat([_measure(images) for images in parts], ignore_index=True)
    index = np.arange(len(split))
    identity = pd.DataFrame(
        {"image": [f"{name}/{i}" for i in index], "split": name, "index": index, "label": split.labels}
    )
    return pd.concat([identity, measured], axis=1)


def _measure(images: np.ndarray) -> pd.DataFrame:
    pixels = images.astype(np.float64)
    rows: np.ndarray = images.max(axis=2) > 0
    columns: np.ndarray = images.max(axis=1) > 0
    blank = images.max(axis=(1, 2)) == 0
    mass = pixels.sum(axis=(1, 2)).clip(1)
    place = np.arange(28)
    box = {
        "top": rows.argmax(axis=1),
        "bottom": 27 - rows[:, ::-1].argmax(axis=1),
        "left": columns.argmax(axis=1),
        "right": 27 - columns[:, ::-1].argmax(axis=1),
        "center_row": (pixels.sum(axis=2) * place).sum(axis=1) / mass,
        "center_column": (pixels.sum(axis=1) * place).sum(axis=1) / mass,
    }
    return pd.DataFrame(
        {
            "mean": pixels.mean(axis=(1, 2)),
            "std": pixels.std(axis=(1, 2)),
            "ink": (images > INK).mean(axis=(1, 2)),
            "low": images.min(axis=(1, 2)).astype(int),
            "high": images.max(axis=(1, 2)).astype(int),
            **{key: np.where(blank, -1, value) for key, value in box.items()},
            "sha256": [hashlib.sha256(image.tobytes()).hexdigest() for image in images],
        }
    )


def split_frame(
    images: pd.DataFrame, expected_counts: Mapping[str, int], disagreement: Mapping[str, float]
) -> pd.DataFrame:
    """Build a frame with one row per split.

    Columns: `count`, `expected_count`, mean of `mean`, pooled pixel `std`, mean of `ink`, and `disagreement` as
    measured by `deepdigits.data.validation.neighbours`.
    """
    grouped = images.assign(square=images["std"] ** 2 + images["mean"] ** 2).groupby("split", sort=False)
    frame = grouped.agg(count=("label", "size"), mean=("mean", "mean"), square=("square", "mean"), ink=("ink", "mean"))
    frame = frame.reindex(list(expected_counts)).fillna({"count": 0}).astype({"count": int})
    frame["std"] = np.sqrt(frame["square"] - frame["mean"] ** 2)
    frame["expected_count"] = [expected_counts[str(name)] for name in frame.index]
    frame["disagreement"] = [disagreement[str(name)] for name in frame.index]
    return frame.drop(columns="square").reset_index()


def class_frame(splits: Mapping[str, Split], classes: int) -> pd.DataFrame:
    """Build a frame with one row per split and class, including classes without images.

    Columns: `split`, `label`, `count`, `share` (of the split), `shift` and `separation`. The last two are
    root-mean-square pixel differences, 0 to 255, between the class's mean image and another one: for `shift`, that of
    the same class in train; for `separation`, that of the most similar other class in the same split. A class without
    images has shift 255 and separation 0.
    """
    means = {name: _class_means(split, classes) for name, split in splits.items()}
    rows = []
    for name, split in splits.items():
        counts = np.bincount(split.labels, minlength=classes)[:classes]
        distances = np.sqrt(((means[name][:, None] - means[name][None]) ** 2).mean(axis=2))
        np.fill_diagonal(distances, np.inf)
        shift = np.sqrt(((means[name] - means["train"]) ** 2).mean(axis=1))
        for label in range(classes):
            present = counts[label] > 0 and np.isfinite(shift[label])
            separation = np.nanmin(distances[label]) if present else 0.0
            rows.append(
                {
                    "split": name,
                    "label": label,
                    "count": int(counts[label]),
                    "share": counts[label] / max(1, len(split)),
                    "shift": float(shift[label]) if present else 255.0,
                    "separation": float(separation),
                }
            )
    return pd.DataFrame(rows)


def group_frame(groups: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Build a frame with one row per group, given the groups of each split: `group`, and in how many `splits` it is."""
    named = [group for members in groups.values() for group in members]
    names, counts = np.unique(named, return_counts=True)
    return pd.DataFrame({"group": names, "splits": counts})


def _class_means(split: Split, classes: int) -> np.ndarray:
    """Mean image per class, `(classes, 784)`; NaN for a class without images."""
    means = np.full((classes, 784), np.nan)
    for label in range(classes):
        chosen = split.images[split.labels == label]
        if len(chosen):
            means[label] = chosen.reshape(len(chosen), 784).mean(axis=0, dtype=np.float64)
    return means
