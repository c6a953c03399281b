"""Faulty MNIST: what a mirror might serve, and which variations are harmless."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from deepdigits.core.files import sha256
from deepdigits.data.digits.splits import Split
from deepdigits.data.ingest.idx import encode_idx
from deepdigits.data.own.arrays import read_idx

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = NAMES
RNG = np.random.default_rng(0)
Files = dict[str, bytes]


@dataclass(frozen=True)
class Fault:
    """A change to the files and the message that refuses them.

    If `trusted`, the described hashes are those of the changed files, as if somebody had pinned them; otherwise they
    are MNIST's.
    """

    change: Callable[[Files], Files]
    message: str
    trusted: bool = True


def splits_of(files: Files) -> tuple[Split, Split]:
    """The training and test images."""
    found = read_idx(files, Path("mnist"), 10)
    train, test = (np.flatnonzero(found.splits == name) for name in ("train", "test"))
    return found.take(train), found.take(test)


def data(change: Callable[[Split, Split], tuple[Split, Split]]) -> Callable[[Files], Files]:
    """Apply a change of the train and test splits to the encoded files."""

    def changed(files: Files) -> Files:
        train, test = change(*splits_of(files))
        arrays = (train.images, train.labels, test.images, test.labels)
        return {name: encode_idx(np.asarray(array, np.uint8)) for name, array in zip(NAMES, arrays, strict=True)}

    return changed


def images(split: Split, change: Callable[[np.ndarray], np.ndarray]) -> Split:
    return Split(change(split.images.copy()), split.labels)


def labels(split: Split, change: Callable[[np.ndarray], np.ndarray]) -> Split:
    return Split(split.images, change(split.labels.copy()))


def put(array: np.ndarray, rows: object, value: object) -> np.ndarray:
    array[rows] = value
    return array


def letters(split: Split) -> Split:
    """Replace the digits with rotated and scaled letters A to J: another ten-class data set under MNIST's names."""
    font = [ImageFont.load_default(size) for size in range(14, 23)]
    drawn = np.empty_like(split.images)
    for row, label in enumerate(split.labels):
        canvas = Image.new("L", (28, 28))
        ImageDraw.Draw(canvas).text(
            (14, 14), chr(ord("A") + label), fill=255, font=font[RNG.integers(len(font))], anchor="mm"
        )
        drawn[row] = np.asarray(canvas.rotate(RNG.uniform(-20, 20), Image.Resampling.BILINEAR))
    return Split(drawn, split.labels)


def swapped_files(files: Files) -> Files:
    return {
        TRAIN_IMAGES: files[TRAIN_LABELS],
        TRAIN_LABELS: files[TRAIN_IMAGES],
        TEST_IMAGES: files[TEST_IMAGES],
        TEST_LABELS: files[TEST_LABELS],
    }


def swap_3_and_8(values: np.ndarray) -> np.ndarray:
    return np.where(values == 3, 8, np.where(values == 8, 3, values))


def repeated(split: Split) -> Split:
    half = len(split) // 2
    return split.take(np.concatenate([np.arange(half), np.arange(half)]))


FAULTS: dict[str, Fault] = {
    "a class flipped in train": Fault(
        data(lambda train, test: (labels(train, swap_3_and_8), test)), "each digit looks the same in all splits"
    ),
    "labels off by one in train": Fault(
        data(lambda train, test: (labels(train, lambda y: (y + 1) % 10), test)),
        "each digit looks the same in all splits",
    ),
    "labels shuffled": Fault(
        data(lambda train, test: (labels(train, RNG.permutation), test)), "digits look different from one another"
    ),
    "labels shuffled in a twentieth of train": Fault(
        data(
            lambda train, test: (
                labels(train, lambda y: np.where(RNG.random(len(y)) < 0.05, RNG.permutation(y), y)),
                test,
            )
        ),
        "labels fit their images",
    ),
    "pixels inverted": Fault(
        data(lambda train, test: (images(train, lambda x: 255 - x), images(test, lambda x: 255 - x))),
        "the mean pixel of each split is in its band",
    ),
    "contrast halved": Fault(
        data(lambda train, test: (images(train, lambda x: x // 2), test)), "every image has full ink"
    ),
    "blank images": Fault(
        data(lambda train, test: (images(train, lambda x: put(x, slice(0, None, 50), 0)), test)),
        "no image is blank or saturated",
    ),
    "saturated images": Fault(
        data(lambda train, test: (train, images(test, lambda x: put(x, slice(0, None, 50), 255)))),
        "every image has background",
    ),
    "constant grey images": Fault(
        data(lambda train, test: (train, images(test, lambda x: put(x, slice(0, None, 50), 127)))),
        "every image has contrast",
    ),
    "test shifted off centre": Fault(
        data(lambda train, test: (train, images(test, lambda x: np.roll(x, 3, axis=2)))),
        "digits are centred horizontally",
    ),
    "test rotated": Fault(
        data(lambda train, test: (train, images(test, lambda x: np.rot90(x, axes=(1, 2))))),
        "each digit looks the same in all splits",
    ),
    "test mirrored": Fault(
        data(lambda train, test: (train, images(test, lambda x: x[:, :, ::-1]))),
        "each digit looks the same in all splits",
    ),
    "images repeated": Fault(data(lambda train, test: (repeated(train), test)), "no image appears twice"),
    "test images in train": Fault(
        data(lambda train, test: (Split(*(np.concatenate(pair) for pair in _pairs(train, test))), test)),
        "no image appears twice",
    ),
    "a class missing in test": Fault(
        data(lambda train, test: (train, test.take(np.flatnonzero(test.labels != 7)))), "every digit is in every split"
    ),
    "classes out of balance": Fault(
        data(
            lambda train, test: (train.take(np.flatnonzero((train.labels != 5) | (RNG.random(len(train)) < 0.5))), test)
        ),
        "classes are balanced",
    ),
    "another data set": Fault(
        data(lambda train, test: (letters(train), letters(test))), "the pixel deviation of each split is in its band"
    ),
    "another data set, its hashes not trusted": Fault(
        data(lambda train, test: (test, train)), "SHA-256 of the decompressed bytes is", trusted=False
    ),
    "a file cut short": Fault(
        lambda files: {**files, TRAIN_IMAGES: files[TRAIN_IMAGES][:-1000]}, "element bytes are present"
    ),
    "a wrong magic number": Fault(
        lambda files: {**files, TEST_LABELS: b"\x01" + files[TEST_LABELS][1:]}, "not an IDX file: it starts with 0x0100"
    ),
    "more bytes than there should be": Fault(
        lambda files: {**files, TEST_IMAGES: files[TEST_IMAGES] + bytes(784)}, "784 byte(s) follow the last element"
    ),
    "image and label files swapped": Fault(swapped_files, "1 dimension(s), expected 3"),
    "a label of 11": Fault(
        lambda files: {**files, TEST_LABELS: files[TEST_LABELS][:-1] + b"\x0b"}, "labels are 0 to 9"
    ),
}


def _pairs(train: Split, test: Split) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    return (train.images, test.images), (train.labels, test.labels)


def reordered(order: Callable[[int], np.ndarray]) -> Callable[[Files], Files]:
    return data(lambda train, test: (train.take(order(len(train))), test.take(order(len(test)))))


def noisy(values: np.ndarray) -> np.ndarray:
    """Shift each pixel that is neither black nor white by at most one grey level, as another scan would."""
    step = RNG.integers(-1, 2, values.shape)
    return np.where((values > 1) & (values < 254), values + step, values)


HARMLESS: dict[str, Callable[[Files], Files]] = {
    "in reversed order": reordered(lambda count: np.arange(count)[::-1]),
    "in random order": reordered(RNG.permutation),
    "another test split": data(lambda train, _: (train.take(np.arange(12000)), train.take(np.arange(12000, 14000)))),
    "a grey level of noise": data(lambda train, test: (images(train, noisy), images(test, noisy))),
    "slightly fewer images": data(
        lambda train, test: (train.take(np.arange(100, len(train))), test.take(np.arange(20, len(test))))
    ),
}


def write_mirror(files: Files, folder: Path, compress: bool) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        if compress:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, 1))
        else:
            (folder / name).write_bytes(content)


def trust(files: Files, description: Path) -> None:
    """Pin the hashes of these files in a copy of datasets/mnist.yaml."""
    text = description.read_text()
    for name, content in files.items():
        text = re.sub(rf"({name}: )[0-9a-f]{{64}}", rf"\g<1>{sha256(content)}", text)
    description.write_text(text)
