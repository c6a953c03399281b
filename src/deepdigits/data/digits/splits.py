"""A split of the data, its file, and how validation is cut from the training images."""

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
    """Images uint8 `(n, 28, 28)` with 0 as background and 255 as full ink; labels int64 `(n,)`, 0 to 9."""

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
    """Choose `size` rows with the class shares of `labels`; return (the others, the chosen), each ascending."""
    from sklearn.model_selection import train_test_split  # half a second, for the few stages that choose

    others, chosen = train_test_split(np.arange(len(labels)), test_size=size, random_state=seed, stratify=labels)
    return np.sort(others), np.sort(chosen)


def subset(split: Split, size: int, seed: int) -> Split:
    """Keep `size` images with the same class shares, or all of them where there are no more."""
    if size >= len(split):
        return split
    return split.take(stratified_rows(split.labels, size, seed)[1])


def save_split(split: Split, path: Path) -> None:
    write_npz(path, {"images": split.images, "labels": split.labels})


def load_split(path: Path) -> Split:
    """Read what `save_split` wrote.

    Raises:
        UserError: the file is missing, damaged or of another shape.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            split = Split(arrays["images"], arrays["labels"])
    except FileNotFoundError:
        raise UserError(f"{path} is missing. Run: dvc repro ingest") from None
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise UserError(f"{path} is damaged ({error}). Run: dvc repro --force ingest") from None
    if split.images.shape != (len(split.labels), 28, 28) or split.images.dtype != np.uint8:
        raise UserError(f"{path}: images {split.images.dtype} {split.images.shape}, expected uint8 (n, 28, 28).")
    return split


def first_of_each_class(images: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """The first `count` images of each digit, class by class."""
    return np.concatenate([images[labels == digit][:count] for digit in range(10)])
