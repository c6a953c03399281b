"""Reads images and labels from NumPy archives in MedMNIST's layout, and from IDX files under MNIST's names."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from deepdigits.core.errors import UserError
from deepdigits.data.ingest.idx import parse_idx
from deepdigits.data.own.decoding import Ink, fitted, to_grey
from deepdigits.data.own.labelled import Labelled, check_classes, check_size

NPZ_SPLITS = {"train": "train", "val": "validation", "test": "test"}
IDX_SPLITS = {"train": "train", "t10k": "test"}


def read_npz(path: Path, ink: Ink) -> Labelled:
    """Read `train_images`, `train_labels` and likewise `val_` and `test_`, or just `images` and `labels`.

    Images may be bytes, or floats in 0 to 1 or -1 to 1; with or without a channel axis, in front or at the end. Labels
    may be `(n,)`, `(n, 1)` or one-hot.

    Raises:
        UserError: the file is no such archive, or its arrays do not fit together.
    """
    arrays = _load(path)
    pairs = {NPZ_SPLITS[key]: (f"{key}_images", f"{key}_labels") for key in NPZ_SPLITS if f"{key}_images" in arrays}
    whole = not pairs
    if whole:
        pairs = {"": ("images", "labels")}
    if missing := [name for pair in pairs.values() for name in pair if name not in arrays]:
        raise UserError(
            f"{path} has no array {missing[0]}. Expected train_images and train_labels, also with val_ and test_, or "
            f"images and labels; it has {', '.join(sorted(arrays)) or 'none'}."
        )
    check_size(sum(len(arrays[images]) for images, _ in pairs.values()), str(path))
    notes: set[str] = set()
    images = [to_images(arrays[name], f"{path}: {name}", ink, notes) for name, _ in pairs.values()]
    labels = [to_labels(arrays[name], f"{path}: {name}") for _, name in pairs.values()]
    for (name, other), first, second in zip(pairs.values(), images, labels, strict=True):
        if len(first) != len(second):
            raise UserError(f"{path}: {name} has {len(first)} images, but {other} has {len(second)} labels.")
    known = numbered_classes(np.concatenate(labels), str(path))
    counts = [len(part) for part in labels]
    names = [f"{pair[0]}[{row}]" for pair, count in zip(pairs.values(), counts, strict=True) for row in range(count)]
    splits = None if whole else np.repeat(list(pairs), counts)
    return Labelled(np.concatenate(images), np.concatenate(labels), known, names, splits, notes=sorted(notes))


def idx_files(folder: Path) -> dict[str, bytes]:
    """The four files that `read_idx` reads, with or without .gz.

    Raises:
        UserError: one is missing, or is not a complete gzip file.
    """
    return {name: _idx_bytes(folder, name) for prefix in IDX_SPLITS for name in _idx_names(prefix)}


def read_idx(files: Mapping[str, bytes], source: Path, classes: int | None = None) -> Labelled:
    """Parse IDX files under MNIST's names: 28x28 images and labels, for train and test (t10k).

    Args:
        classes: their number, if it is known; otherwise every number up to the highest label must occur.

    Raises:
        UserError: a file is missing or malformed, or a label is not below `classes`.
    """
    images, labels, names, splits = [], [], [], []
    for prefix, split in IDX_SPLITS.items():
        of_images, of_labels = _idx_names(prefix)
        if missing := [name for name in (of_images, of_labels) if name not in files]:
            raise UserError(f"{source}: there is no {missing[0]}; IDX files need MNIST's four names.")
        stack, marks = parse_idx(files[of_images], of_images, (28, 28)), parse_idx(files[of_labels], of_labels)
        if len(stack) != len(marks):
            raise UserError(f"{source}: {of_images} has {len(stack)} images, but {of_labels} has {len(marks)} labels.")
        if classes and marks.size and marks.max() >= classes:
            wrong = f"label {marks.max()} at index {int(marks.argmax())}"
            raise UserError(f"{of_labels}: {wrong}; labels are 0 to {classes - 1}.")
        images.append(stack)
        labels.append(marks.astype(np.int64))
        names += [f"{prefix}[{row}]" for row in range(len(marks))]
        splits += [split] * len(marks)
    every = np.concatenate(labels)
    known = [str(number) for number in range(classes)] if classes else numbered_classes(every, str(source))
    return Labelled(np.concatenate(images), every, known, names, np.array(splits))


def _idx_names(prefix: str) -> tuple[str, str]:
    return f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"


def to_images(array: np.ndarray, where: str, ink: Ink, notes: set[str]) -> np.ndarray:
    """Grey images uint8 `(n, 28, 28)`; what was converted is added to `notes`.

    Raises:
        UserError: the shape, the dtype or the range is none of those that `read_npz` names.
    """
    if array.ndim == 4 and array.shape[1] in (1, 3) and array.shape[3] not in (1, 3):
        array = np.moveaxis(array, 1, 3)
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[3] != 3) or 0 in array.shape:
        raise UserError(f"{where} has shape {array.shape}; expected (n, height, width), with 1 or 3 channels if any.")
    pixels = _to_bytes(array, where, notes)
    if pixels.shape[1:] == (28, 28):
        return pixels
    if pixels.ndim == 4:
        notes.add("colours were turned into luminance")
    if pixels.shape[1:3] != (28, 28):
        notes.add(f"images of {pixels.shape[2]}x{pixels.shape[1]} pixels were reduced to fit 28x28")
    return np.stack([fitted(to_grey(Image.fromarray(one), ink), ink) for one in pixels])


def _to_bytes(array: np.ndarray, where: str, notes: set[str]) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if not np.issubdtype(array.dtype, np.floating):
        raise UserError(f"{where} has dtype {array.dtype}; expected uint8, or floats in 0 to 1 or -1 to 1.")
    if not np.isfinite(array).all():
        raise UserError(f"{where} has values that are not finite. Remove or repair these images.")
    low, high = float(array.min()), float(array.max())
    if low < -1 or high > 1:
        raise UserError(
            f"{where} has floats from {low:g} to {high:g}; expected 0 to 1 or -1 to 1. For 0 to 255, convert to uint8."
        )
    notes.add(f"floats in {'-1' if low < 0 else '0'} to 1 were turned into bytes")
    unit = (array.astype(np.float64) + 1) / 2 if low < 0 else array.astype(np.float64)
    return np.asarray((unit * 255).round().astype(np.uint8))


def to_labels(array: np.ndarray, where: str) -> np.ndarray:
    """Labels int64 `(n,)`.

    Raises:
        UserError: they are neither numbers nor one-hot.
    """
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2:
        if not (np.isin(array, (0, 1)).all() and (array.sum(axis=1) == 1).all()):
            raise UserError(f"{where} has shape {array.shape}, but is not one-hot: each row needs exactly one 1.")
        array = array.argmax(axis=1)
    if array.ndim != 1 or not (np.issubdtype(array.dtype, np.integer) or (array == np.floor(array)).all()):
        raise UserError(f"{where} has shape {array.shape} and dtype {array.dtype}; expected whole numbers (n,).")
    return array.astype(np.int64)


def numbered_classes(labels: np.ndarray, source: str) -> list[str]:
    """Names for labels 0 to K - 1.

    Raises:
        UserError: a number is missing between, or the labels do not begin with 0.
    """
    found = np.unique(labels)
    if len(found) and found[0] != 0:
        raise UserError(
            f"{source}: labels are {found[0]} to {found[-1]}, but must begin with 0. Subtract {found[0]} from each."
        )
    if len(found) and found[-1] != len(found) - 1:
        gap = next(number for number in range(len(found)) if number != found[number])
        raise UserError(
            f"{source}: no image has the label {gap}, although labels go up to {found[-1]}. Number them 0 to K - 1."
        )
    names = [str(number) for number in found]
    check_classes(names, source)
    return names


def _load(path: Path) -> Mapping[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    except ValueError as error:
        if "allow_pickle" in str(error) or "pickled" in str(error):
            raise UserError(
                f"{path} contains Python objects (pickles), which can run code and are not loaded. Save plain arrays "
                "with numpy.savez."
            ) from None
        raise UserError(f"{path} is not a NumPy archive: {error}.") from None
    except (OSError, EOFError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not a NumPy archive: {error}.") from None


def _idx_bytes(folder: Path, name: str) -> bytes:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            try:
                return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            except (OSError, EOFError) as error:
                raise UserError(f"{path} is not a complete gzip file: {error}.") from None
    raise UserError(f"{folder} contains neither {name}.gz nor {name}.")
