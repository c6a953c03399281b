"""Dataset splits: the split type, its file format, and how validation is split off the training images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from deepdigits.core.errors import UserError
from deepdigits.core.files import write_npz

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Images uint8 `(n, 28, 28)`, where 0 is background and 255 full ink; labels int64 `(n,)`, from 0."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        return self.images, self.labels

    def take(self, rows: np.ndarray) -> Split:
        return Split(self.images[rows], self.labels[rows])


def stratified_rows(labels: np.ndarray, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose `size` rows, stratified by `labels`. Return (remaining rows, chosen rows), each in ascending order."""
    from sklearn.model_selection import train_test_split  # costs half a second, and only a few stages need it

    others, chosen = train_test_split(np.arange(len(labels)), test_size=size, random_state=seed, stratify=labels)
    return np.sort(others), np.sort(chosen)


def subset(split: Split, size: int, seed: int) -> Split:
    """Keep `size` images, stratified by class, or all of them if there are no more."""
    if size >= len(split):
        return split
    return split.take(stratified_rows(split.labels, size, seed)[1])


def save_split(split: Split, path: Path) -> None:
    write_npz(path, {"images": split.images, "labels": split.labels})


def load_split(path: Path) -> Split:
    """Read what `save_split` wrote.

    Raises:
        UserError: the file is missing or corrupt, or the images have the wrong shape or dtype.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            split = Split(arrays["images"], arrays["labels"])
    except FileNotFoundError:
        raise UserError(f"{path} is missing. Run: dvc repro ingest") from None
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise UserError(f"{path} is corrupt ({error}). Run: dvc repro --force ingest") from None
    if split.images.shape != (len(split.labels), 28, 28) or split.images.dtype != np.uint8:
        raise UserError(f"{path}: images {split.images.dtype} {split.images.shape}, expected uint8 (n, 28, 28).")
    return split


def first_of_each_class(images: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Return the first `count` images of each class, class by class."""
    return np.concatenate([images[labels == label][:count] for label in np.unique(labels)])
