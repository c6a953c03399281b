from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepdigits.core.errors import UserError
from deepdigits.core.files import file_sha256, write_bytes, write_json
from deepdigits.data.digits.splits import Split, load_split, save_split, stratified_rows, subset
from deepdigits.tasks.classification.augmentation import (
    augment,
    random_affine,
    random_convolution,
    random_rectangles,
    random_texture,
)
from deepdigits.tasks.classification.config import Augmentation
from deepdigits.training.batches import OrderedBatches, ShuffledBatches, epoch_generator

NONE = Augmentation(
    rotate_degrees=0.0, translate_pixels=0.0, scale_fraction=0.0, shear_degrees=0.0, textured_fraction=0.0
)
SOME = Augmentation(
    rotate_degrees=10.0, translate_pixels=2.0, scale_fraction=0.1, shear_degrees=8.0, textured_fraction=0.5
)


@given(st.integers(20, 200), st.integers(0, 2**31))
def test_validation_is_stratified_disjoint_and_repeatable(size: int, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 10, 1000)
    rest, chosen = stratified_rows(labels, size, seed)
    assert sorted([*rest, *chosen]) == list(range(1000))
    for digit in range(10):
        assert abs((labels[chosen] == digit).sum() - size * (labels == digit).mean()) <= 1
    assert np.array_equal(chosen, stratified_rows(labels, size, seed)[1])


def test_a_subset_larger_than_the_split_is_the_split(digits_train: Split) -> None:
    assert subset(digits_train, 10_000, 0) is digits_train
    assert len(subset(digits_train, 200, 0)) == 200


def test_a_split_file_has_the_same_bytes_each_time(digits_train: Split, tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        save_split(digits_train, tmp_path / name)
    assert file_sha256(tmp_path / "a.npz") == file_sha256(tmp_path / "b.npz")
    assert np.array_equal(load_split(tmp_path / "a.npz").images, digits_train.images)


def test_a_split_file_has_the_same_bytes_under_every_python_release(tmp_path: Path) -> None:
    # Checked with the system's 3.11.2 and others to 3.13. Before 3.11.4, `numpy.savez` writes other bytes than after.
    image = np.arange(28 * 28).astype(np.uint8).reshape(1, 28, 28)
    save_split(Split(image, np.array([7])), tmp_path / "a")
    assert file_sha256(tmp_path / "a") == "e5ce7efd12578b6b2e53d194533dbcd9154f02cf132af73cf34d9f2b0304b27c"


def test_the_error_for_a_damaged_split_file_says_what_to_do(digits_train: Split, tmp_path: Path) -> None:
    path = tmp_path / "train.npz"
    with pytest.raises(UserError, match="dvc repro ingest"):
        load_split(path)
    save_split(digits_train, path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UserError, match="corrupt"):
        load_split(path)
    np.savez(path, images=np.zeros((2, 28, 27), np.uint8), labels=np.zeros(2, np.int64))
    with pytest.raises(UserError, match="expected uint8"):
        load_split(path)


@given(st.integers(1, 30), st.integers(1, 8), st.integers(1, 20), st.integers(0, 99))
def test_an_epoch_serves_every_image_before_repeating_any(count: int, size: int, steps: int, seed: int) -> None:
    images, labels = torch.zeros(count, 28, 28, dtype=torch.uint8), torch.arange(count)
    served = torch.cat([y for _, y in ShuffledBatches(images, labels, size, steps, epoch_generator(seed, 0))])
    assert len(served) == size * steps
    times = torch.bincount(served, minlength=count)
    assert times.max() - times.min() <= 1


def test_the_order_depends_only_on_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        batches = ShuffledBatches(torch.zeros(50, 28, 28), torch.arange(50), 10, 5, epoch_generator(seed, epoch))
        return torch.cat([y for _, y in batches]).tolist()

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


def test_ordered_batches_serve_every_image_once() -> None:
    batches = OrderedBatches(torch.full((7, 28, 28), 255, dtype=torch.uint8), torch.arange(7), 3)
    images, labels = zip(*batches, strict=True)
    assert len(batches) == 3
    assert torch.cat(labels).tolist() == list(range(7))
    assert torch.cat(images).shape == (7, 1, 28, 28)
    assert torch.cat(images).unique().tolist() == [1.0]


@settings(deadline=None)
@given(st.integers(0, 2**31))
def test_augmentation_with_zero_strength_changes_nothing(seed: int) -> None:
    images = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(seed))
    assert torch.allclose(random_affine(images, epoch_generator(seed, 0), NONE), images, atol=1e-5)


@settings(deadline=None)
@given(st.integers(0, 2**31))
def test_augmentation_keeps_range_shape_and_most_of_the_ink(seed: int) -> None:
    images = torch.zeros(8, 1, 28, 28)
    images[:, :, 9:19, 9:19] = 1
    out = random_affine(images, epoch_generator(seed, 0), SOME)
    assert out.shape == images.shape
    assert out.min() >= 0
    assert out.max() <= 1 + 1e-6
    assert ((out.sum((1, 2, 3)) / 100 - 1).abs() < 0.35).all()
    assert torch.equal(out, random_affine(images, epoch_generator(seed, 0), SOME))


def test_translation_is_measured_in_pixels() -> None:
    image = torch.zeros(64, 1, 28, 28)
    image[:, :, 14, 14] = 1
    moved = random_affine(image, epoch_generator(0, 0), NONE.model_copy(update={"translate_pixels": 3.0}))
    place = torch.arange(28.0)
    offset = (moved.sum((1, 2)) * place).sum(1) / moved.sum((1, 2, 3)) - 14
    assert 2 < offset.abs().max() <= 3.01


def test_texture_changes_only_its_share_of_the_images() -> None:
    images = torch.rand(600, 1, 28, 28)
    changed = (random_texture(images, epoch_generator(0, 0), 0.2) != images).flatten(1).any(dim=1).float().mean()
    assert 0.38 < changed < 0.59  # three independent changes: 1 - 0.8 ** 3 = 0.49
    assert torch.equal(random_texture(images, epoch_generator(0, 0), 0.0), images)
    assert torch.equal(augment(images, epoch_generator(1, 0), SOME), augment(images, epoch_generator(1, 0), SOME))


def test_a_random_convolution_is_linear_and_local() -> None:
    image = torch.zeros(200, 1, 28, 28)
    image[:, :, 14, 14] = 1
    once = random_convolution(image, epoch_generator(0, 0))
    assert torch.allclose(random_convolution(3 * image, epoch_generator(0, 0)), 3 * once, atol=1e-5)
    assert once[:, :, :11].abs().max() == 0  # the largest kernel reaches three pixels
    assert (once[:, 0, 14, 11] != 0).float().mean() == pytest.approx(
        0.25, abs=0.1
    )  # one kernel size of four reaches this far


def test_random_rectangles_are_rectangles_of_the_requested_size() -> None:
    masks = random_rectangles(300, epoch_generator(0, 0), 1.5, 8.5, torch.device("cpu")).squeeze(1)
    rows, columns = masks.any(dim=2), masks.any(dim=1)
    assert torch.equal(masks, rows[:, :, None] & columns[:, None, :])
    assert rows.sum(1).max() <= 18
    assert masks.flatten(1).any(dim=1).all()


def test_an_interrupted_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.bin"
    write_bytes(path, b"good")

    def disk_full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", disk_full)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(path, b"half")
    assert path.read_bytes() == b"good"
    assert list(tmp_path.iterdir()) == [path]


def test_json_is_sorted_rounded_and_never_nan(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    write_json(path, {"b": 1 / 3, "a": [0.1 + 0.2]})
    assert path.read_text() == '{\n  "a": [\n    0.3\n  ],\n  "b": 0.333333\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
