"""Reading NumPy archives and IDX files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepdigits.core.errors import UserError
from deepdigits.data.ingest.idx import encode_idx
from deepdigits.data.own.arrays import read_npz, to_images, to_labels
from deepdigits.data.own.reading import read_source
from tests.unit.own_sources import save

IMAGES = np.random.default_rng(2).integers(0, 256, (6, 28, 28), np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def npz(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "set.npz", **arrays)
    return folder / "set.npz"


def test_medmnists_layout_gives_the_splits(tmp_path: Path) -> None:
    parts = {f"{name}_{kind}": array for name in ("train", "val", "test") for kind, array in
             (("images", IMAGES), ("labels", LABELS[:, None]))}  # fmt: skip
    found = read_npz(npz(tmp_path, **parts), "bright")
    assert found.splits is not None
    assert found.splits.tolist() == ["train"] * 6 + ["validation"] * 6 + ["test"] * 6
    assert list(found.classes) == ["0", "1", "2"]
    assert found.names[7] == "val_images[1]"
    assert np.array_equal(found.images[6:12], IMAGES)


@pytest.mark.parametrize(
    ("images", "note"),
    [
        (IMAGES, ""),
        (IMAGES[..., None], ""),
        (IMAGES[:, None], ""),
        (IMAGES / 255, "floats in 0 to 1"),
        ((IMAGES / 255).astype(np.float32), "floats in 0 to 1"),
        (IMAGES / 127.5 - 1, "floats in -1 to 1"),
        (np.repeat(IMAGES[..., None], 3, axis=3), "luminance"),
        (np.repeat(IMAGES[:, None], 3, axis=1), "luminance"),
    ],
    ids=["plain", "channel last", "channel first", "float", "float32", "signed float", "colour last", "colour first"],
)
def test_every_layout_of_images_gives_the_same_bytes(images: np.ndarray, note: str, tmp_path: Path) -> None:
    found = read_npz(npz(tmp_path, images=images, labels=LABELS), "bright")
    assert np.array_equal(found.images, IMAGES)
    assert found.splits is None
    assert note in " ".join(found.notes)


def test_larger_images_are_reduced_and_that_is_said(tmp_path: Path) -> None:
    found = read_npz(npz(tmp_path, images=IMAGES.repeat(2, axis=1).repeat(2, axis=2), labels=LABELS), "bright")
    assert found.images.shape == (6, 28, 28)
    assert "56x56 pixels were reduced" in " ".join(found.notes)


def test_every_layout_of_labels_gives_the_same_numbers() -> None:
    for array in (LABELS, LABELS[:, None], np.eye(3)[LABELS], LABELS.astype(np.uint8), LABELS.astype(float)):
        assert to_labels(array, "x").tolist() == LABELS.tolist()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": IMAGES, "labels": LABELS + 1}, "labels are 1 to 3, but must begin with 0. Subtract 1"),
        ({"images": IMAGES, "labels": LABELS * 2}, "no image has the label 1"),
        ({"images": IMAGES, "labels": LABELS - 1}, "labels are -1 to 1"),
        ({"images": IMAGES, "labels": np.zeros(6, int)}, "only '0' as classes"),
        ({"images": IMAGES, "labels": LABELS[:5]}, "6 images, but labels has 5 labels"),
        ({"images": IMAGES, "labels": np.ones((6, 3))}, "not one-hot"),
        ({"images": IMAGES, "labels": LABELS + 0.5}, "expected whole numbers"),
        ({"images": IMAGES}, "has no array labels"),
        ({"pictures": IMAGES}, "has no array images.*it has pictures"),
        ({"images": IMAGES.astype(np.int32), "labels": LABELS}, "dtype int32"),
        ({"images": IMAGES * 1.0, "labels": LABELS}, "floats from .* convert to uint8"),
        ({"images": IMAGES / np.nan, "labels": LABELS}, "not finite"),
        ({"images": IMAGES[0], "labels": LABELS}, "has shape"),
        ({"images": np.zeros((6, 28, 28, 2), np.uint8), "labels": LABELS}, "has shape"),
        ({"images": np.array([{}] * 6), "labels": LABELS}, "contains Python objects"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read_npz(npz(tmp_path, **arrays), "bright")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04rubbish", b"\x80\x04N.", b"text"])
def test_files_that_are_no_archives_are_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "set.npz").write_bytes(data)
    with pytest.raises(UserError, match=r"set.npz"):
        read_npz(tmp_path / "set.npz", "bright")


def test_idx_files_give_train_and_test(tmp_path: Path) -> None:
    for prefix in ("train", "t10k"):
        save(tmp_path, {f"{prefix}-images-idx3-ubyte": encode_idx(IMAGES)})
        save(tmp_path, {f"{prefix}-labels-idx1-ubyte": encode_idx(LABELS.astype(np.uint8))})
    found = read_source(tmp_path, "idx", "bright")
    assert found.splits is not None
    assert found.splits.tolist() == ["train"] * 6 + ["test"] * 6
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(UserError, match="contains neither t10k-labels-idx1-ubyte.gz nor"):
        read_source(tmp_path, "idx", "bright")


def test_colours_become_luminance() -> None:
    red = np.zeros((1, 28, 28, 3), np.uint8)
    red[..., 0] = 255
    assert (to_images(red, "x", "bright", set()) == 76).all()
