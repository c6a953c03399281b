"""What `evaluate` measures beyond accuracy: corruptions, attacks, refusals, temperature, explanations."""

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from deepdigits.data.digits.splits import Split
from deepdigits.nn.contrast import WINDOW, local_contrast
from deepdigits.tasks.classification.calibration import fit_temperature
from deepdigits.tasks.classification.config import Contrast
from deepdigits.tasks.classification.contrast import normalize
from deepdigits.tasks.classification.corruptions import CORRUPTIONS, corrupt
from deepdigits.tasks.classification.explanation import occlusion, probabilities_by_step
from deepdigits.tasks.classification.metrics import contradicted, without_temperature
from deepdigits.tasks.classification.robustness import (
    corrupted_accuracy,
    coverage_at,
    fgsm_accuracy,
    selective_accuracy,
)

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_changes_every_image_and_is_reproducible_by_seed(name: str, digits_train: Split) -> None:
    images = digits_train.images[:40]
    before = images.copy()
    once, again = corrupt(images, name, 3), corrupt(images, name, 3)
    assert np.array_equal(images, before)
    assert (once.shape, once.dtype) == (images.shape, np.uint8)
    assert np.array_equal(once, again)
    assert (once != images).any(axis=(1, 2)).all()


RANDOM = [name for name in CORRUPTIONS if name not in ("scale", "brightness", "stripe", "canny_edges")]


@pytest.mark.parametrize("name", RANDOM)
def test_every_image_gets_its_own_random_corruption(name: str, digits_train: Split) -> None:
    same = np.repeat(digits_train.images[:1], 12, axis=0)
    out = corrupt(same, name, 0)
    assert len(np.unique(out.reshape(12, -1), axis=0)) > 1
    assert not np.array_equal(out, corrupt(same, name, 1))


def test_corruptions_follow_their_definitions() -> None:
    empty, dot = np.zeros((400, 28, 28), np.uint8), np.zeros((400, 28, 28), np.uint8)
    dot[:, 14, 14] = 255
    assert (corrupt(empty, "brightness", 0) == 128).all()
    stripe = corrupt(empty, "stripe", 0)
    assert (stripe[:, :, 7:21] == 0).all()
    assert (stripe[:, :, :7] == 255).all()
    assert (stripe[:, :, 21:] == 255).all()
    assert (corrupt(empty, "impulse_noise", 0) == 255).mean() == pytest.approx(0.085, abs=0.003)
    assert corrupt(np.full_like(empty, 85), "shot_noise", 0).mean() == pytest.approx(85 * 0.96, abs=3)  # clipped at 255
    moved = {tuple(map(int, place)) for image in corrupt(dot, "translate", 0) for place in np.argwhere(image == 255)}
    assert moved == {(row, column) for row in (11, 17) for column in (11, 17)}
    line = corrupt(empty, "dotted_line", 0)
    assert (line[:, :, np.arange(28) % 4 < 2] == 0).all()
    assert (line.max(axis=(1, 2)) > 180).all()
    assert (corrupt(empty, "zigzag", 0)[:, :, :1] == 0).all()


def test_rotation_and_scaling_move_a_point_as_geometry_predicts() -> None:
    dot = np.zeros((50, 28, 28), np.uint8)
    dot[:, 13:15, 23:25] = 255  # ten pixels right of the centre
    rows, columns = np.mgrid[:28, :28]

    def centre(images: np.ndarray) -> np.ndarray:
        mass = images.sum(axis=(1, 2))
        return np.stack([(images * columns).sum((1, 2)) / mass, (images * rows).sum((1, 2)) / mass], axis=1) - 13.5

    turned = centre(corrupt(dot, "rotate", 0).astype(float))
    assert np.allclose(np.abs(turned), [10 * np.cos(0.4), 10 * np.sin(0.4)], atol=0.25)
    assert {-1.0, 1.0} == set(np.sign(turned[:, 1]))
    assert np.allclose(centre(corrupt(dot, "scale", 0).astype(float)), [7, 0], atol=0.25)


def test_corrupted_accuracy_covers_every_corruption(digits_train: Split) -> None:
    always = np.tile(np.eye(10, dtype=np.float32)[3], (50, 1))
    found = corrupted_accuracy(lambda _: always, digits_train.images[:50], digits_train.labels[:50], 0)
    share = float((digits_train.labels[:50] == 3).mean())
    assert found == dict.fromkeys(CORRUPTIONS, share)


class Linear(nn.Module):
    """Scores with a known gradient: the mean of the upper half against that of the lower half."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        upper, lower = images[:, 0, :14].mean((1, 2)), images[:, 0, 14:].mean((1, 2))
        return torch.stack([upper, lower, *[upper * 0 - 9] * 8], dim=1)


def test_fgsm_flips_exactly_the_images_within_reach() -> None:
    images = np.zeros((2, 28, 28), np.uint8)
    images[0, :14], images[1, :14] = 51, 153  # 0.2 and 0.6; the attack lowers the upper half and raises the lower
    found = fgsm_accuracy(Linear(), images, np.zeros(2, np.int64), (0.0, 0.09, 0.11, 0.29, 0.31))
    assert found == {0.0: 1.0, 0.09: 1.0, 0.11: 0.5, 0.29: 0.5, 0.31: 0.0}


def test_selective_accuracy_of_known_answers() -> None:
    answers = np.full((4, 10), 0.01, np.float32)
    answers[np.arange(4), 1] = [0.9, 0.6, 0.8, 0.7]
    selective = selective_accuracy(answers, np.array([1, 0, 1, 1]))
    assert selective.tolist() == [1, 1, 1, 0.75]
    assert coverage_at(selective, 0.9) == 0.75
    assert coverage_at(selective, 0.75) == 1
    assert coverage_at(selective_accuracy(answers, np.zeros(4, int)), 0.1) == 0


@settings(deadline=None, max_examples=20)
@given(st.floats(0.2, 5))
def test_the_temperature_of_scaled_logits_is_recovered(temperature: float) -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (4000, 10))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (chances.cumsum(axis=1) > rng.random((4000, 1))).argmax(
        axis=1
    )  # drawn from the probabilities that the logits give
    assert fit_temperature(logits * temperature, labels) == pytest.approx(temperature, rel=0.08)


@settings(deadline=None, max_examples=20)
@given(st.floats(0.3, 3))
def test_the_temperature_can_be_removed_again(temperature: float) -> None:
    logits = torch.from_numpy(RNG.normal(0, 2, (20, 10)))
    scaled = (logits / temperature).softmax(dim=1).float().numpy()
    assert np.allclose(without_temperature(scaled, temperature), logits.softmax(dim=1).numpy(), atol=1e-5)


def test_a_label_is_contradicted_only_if_all_models_confidently_disagree() -> None:
    labels = np.array([0, 0, 0, 1])
    sure, unsure = (np.tile(one, (4, 1)) for one in (np.eye(10)[1] * 0.95, np.eye(10)[1] * 0.6))
    mixed = sure.copy()
    mixed[1] = np.eye(10)[0]
    assert contradicted([sure, mixed], labels, 0.9).tolist() == [0, 2]
    assert contradicted([sure, unsure], labels, 0.9).tolist() == []


def test_occlusion_finds_what_the_answer_depends_on() -> None:
    image = np.zeros((28, 28), np.uint8)
    image[4:9, 10:15] = 255
    found = occlusion(Linear(), image, 0)
    assert found.shape == (28, 28)
    assert np.unravel_index(found.argmax(), found.shape) == (6, 12)
    assert found[20:].max() == pytest.approx(0, abs=1e-7)


def test_probabilities_after_each_row_depend_only_on_the_rows_so_far() -> None:
    image = RNG.integers(0, 256, (28, 28)).astype(np.uint8)
    other = image.copy()
    other[10:] = 0
    one, two = (probabilities_by_step(Linear(), array, False) for array in (image, other))
    assert one.shape == (28, 10)
    assert np.array_equal(one[:10], two[:10])
    assert not np.array_equal(one[20], two[20])


@pytest.mark.parametrize("contrast", ["local", "image"])
def test_contrast_ignores_brightness_and_scale(contrast: Contrast) -> None:
    images = torch.rand(4, 1, 28, 28)
    plain = normalize(images, contrast)
    assert torch.allclose(normalize(images + 0.5, contrast), plain, atol=1e-4)
    assert torch.allclose(normalize(images * 3, contrast), plain, atol=0.2)


def test_only_contrast_with_the_whole_image_keeps_which_areas_are_dark() -> None:
    images = torch.ones(1, 1, 28, 28)
    images[..., :14] = 0.2
    local, image = (normalize(images, contrast)[0, 0, 14] for contrast in get_args(Contrast))
    assert local[[2, 25]].tolist() == pytest.approx([0, 0], abs=1e-4)
    assert image[2] < -0.9 < 0.9 < image[25]


def test_local_contrast_subtracts_the_mean_of_nearby_pixels_within_the_image() -> None:
    images = torch.rand(4, 1, 28, 28)
    near = F.avg_pool2d(images, WINDOW, stride=1, padding=WINDOW // 2, count_include_pad=False)
    expected = (images - near) / ((images - near).std(dim=(2, 3), keepdim=True) + 0.02)
    assert torch.allclose(local_contrast(images), expected, atol=1e-5)
