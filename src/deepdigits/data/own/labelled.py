"""What every reader returns: images with labels, and with what is known about where they belong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import psutil

from deepdigits.core.errors import UserError
from deepdigits.data.digits.splits import Split

SIDE = 28
BYTES_PER_IMAGE = 784 * 24  # the images, and what validation computes from them in double precision
MOST_CLASSES = 1000


@dataclass(frozen=True)
class Labelled:
    """Images of one source.

    Attributes:
        images: uint8 `(n, 28, 28)`, as in the source: ink may be bright or dark.
        labels: int64 `(n,)`, an index into `classes`.
        classes: the names of the classes.
        names: where each image comes from, for messages.
        splits: "train", "validation" or "test" for each image, if the source says so.
        groups: who or what each image belongs to, such as a speaker or a patient, if the source says so.
        notes: what was converted on the way, for a reader.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: Sequence[str]
    names: Sequence[str]
    splits: np.ndarray | None = None
    groups: np.ndarray | None = None
    notes: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, kept: np.ndarray) -> Labelled:
        """Only the images for which `kept`, bool `(n,)`, is true."""
        return replace(
            self,
            images=self.images[kept],
            labels=self.labels[kept],
            names=[name for name, keep in zip(self.names, kept, strict=True) if keep],
            splits=None if self.splits is None else self.splits[kept],
            groups=None if self.groups is None else self.groups[kept],
        )

    def take(self, rows: np.ndarray) -> Split:
        return Split(self.images[rows], self.labels[rows])


def check_size(count: int, source: str) -> None:
    """Raise a UserError if so many images would not fit into memory, before any of them is read."""
    available = psutil.virtual_memory().available
    most = available // BYTES_PER_IMAGE
    if count > most:
        raise UserError(
            f"{source} has {count:,} images. The {available / 2**30:.1f} GiB of free memory are enough for {most:,}, "
            "since all images are kept in memory. Use a part of them, or a machine with more memory."
        )


def check_classes(classes: Sequence[str], source: str) -> None:
    if not 2 <= len(classes) <= MOST_CLASSES:
        found = f"only {classes[0]!r}" if len(classes) == 1 else f"{len(classes):,}"
        raise UserError(f"{source} has {found} as classes; there must be 2 to {MOST_CLASSES:,}.")


def bright(split: Split, ink: str) -> Split:
    """The same with ink of 255 on a background of 0, whether the source's `ink` is bright or dark."""
    return split if ink == "bright" else Split(255 - split.images, split.labels)
