"""The identity swap and the fakes detector: what they measure, and that they learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_lightning.callbacks import Callback
from scipy.ndimage import affine_transform

from deepdigits.core.statistics import auc
from deepdigits.data.digits.splits import Split
from deepdigits.nn.prediction import to_unit
from deepdigits.tasks.fakes.metrics import fakes_measures
from deepdigits.tasks.gan.config import GanNet
from deepdigits.tasks.swap.config import SwapNet, SwapWeights, TrainSwap
from deepdigits.tasks.swap.handwriting import slants, strokes, thicknesses
from deepdigits.tasks.swap.metrics import cycle_error, probe_measures, style_correlations, styles, swap_measures
from deepdigits.tasks.swap.network import Swapper, other_digits, style_codes, swap_digits
from deepdigits.tasks.swap.training import SwapTraining, handwriting, usual_handwriting
from deepdigits.training.config import CycleFit
from deepdigits.training.fitting import fit_to_loss
from deepdigits.training.trainer import Fitted
from deepdigits.training.weights import part_of
from tests.unit.test_training import KillAt, KilledError, equal

GAN = GanNet(noise_dim=4, generator_widths=(8, 4), discriminator_widths=(4, 4, 4, 8))
CONFIG = TrainSwap(
    net=SwapNet(gan=GAN, levels=5, encoder_widths=(4, 8, 8)),
    fit=CycleFit(
        epochs=2, steps_per_epoch=8, batch_size=16, max_learning_rate=2e-3, weight_decay=0.0, gradient_clip=1.0, seed=3
    ),
    weights=SwapWeights(pixels=20.0, identity=0.5, realism=0.3, style=3.0, secrecy=20.0),
)


def bar(width: int, shear: float = 0.0) -> np.ndarray:
    """An upright bar, 20 pixels high, sheared about the centre: `shear` columns to the right for each row up."""
    image = np.zeros((28, 28))
    image[4:24, 14 - width // 2 : 14 - width // 2 + width] = 255
    turned = affine_transform(image, [[1, 0], [shear, 1]], offset=[0, -shear * 13.5], order=1)
    return turned.round().clip(0, 255).astype(np.uint8)


@given(st.floats(-0.3, 0.3))
def test_slant_is_the_angle_of_the_shear(shear: float) -> None:
    assert slants(bar(4, shear)[None])[0] == pytest.approx(np.arctan(shear), abs=0.03)


@pytest.mark.parametrize("width", [2, 3, 4, 5, 6])
def test_thickness_is_that_of_the_bar_whatever_else_is_in_the_batch(width: int) -> None:
    single = thicknesses(bar(width)[None])[0]
    assert single == pytest.approx(width, abs=0.75)
    full = np.full((28, 28), 255, np.uint8)
    assert thicknesses(np.stack([full, bar(width), full]))[1] == single


def test_an_empty_image_has_no_style() -> None:
    empty = np.zeros((1, 28, 28), np.uint8)
    assert slants(empty)[0] == 0
    assert thicknesses(empty)[0] == 0


def test_trained_handwriting_correlates_with_measured_handwriting(digits: tuple[Split, Split]) -> None:
    images = digits[0].images
    trained = handwriting(to_unit(torch.from_numpy(images))).numpy()
    for column, measured, sign in ((0, slants(images), -1), (1, thicknesses(images), 1)):
        assert sign * np.corrcoef(trained[:, column], measured)[0, 1] > 0.8


def test_usual_handwriting_is_computed_for_each_digit() -> None:
    images = torch.from_numpy(np.stack([bar(2), bar(4), bar(6), bar(3)] * 5))
    labels = torch.arange(20) // 2
    mean, deviation = usual_handwriting(to_unit(images), labels, 10)
    found = handwriting(to_unit(images))
    assert torch.allclose(mean[3], found[6:8].mean(dim=0))
    assert torch.allclose(deviation[3], found[6:8].std(dim=0))


@given(st.integers(1, 60))
def test_a_swap_is_always_to_another_digit(count: int) -> None:
    labels = np.random.default_rng(count).integers(0, 10, count)
    wanted = other_digits(labels, 10)
    assert (wanted != labels).all()
    assert ((wanted >= 0) & (wanted < 10)).all()


def test_correlation_weights_act_as_repetitions() -> None:
    rng = np.random.default_rng(1)
    first = rng.normal(size=(50, 2))
    second = first + rng.normal(size=(50, 2))
    weights = rng.integers(0, 4, 50)
    repeated = style_correlations(first.repeat(weights, axis=0), second.repeat(weights, axis=0))
    assert np.allclose(style_correlations(first, second, weights), repeated)
    assert np.allclose(repeated[0], np.corrcoef(*(one.repeat(weights, axis=0)[:, 0] for one in (first, second)))[0, 1])
    assert (style_correlations(first, np.ones_like(second)) == 0).all()


def test_swap_measures_of_copies_and_of_noise(digits: tuple[Split, Split]) -> None:
    images, labels = digits[0].images[:300], digits[0].labels[:300]
    copied = swap_measures(styles(images), styles(images), labels, labels)
    assert copied["identity"] == 1
    assert copied["slant_correlation"] == pytest.approx(1)
    noise = np.random.default_rng(0).permutation(images)
    other = swap_measures(styles(images), styles(noise), other_digits(labels, 10), labels)
    assert other["identity"] == 0
    assert abs(other["slant_correlation"]) < 0.3


def test_the_cycle_error_is_the_mean_pixel_difference() -> None:
    images = np.zeros((2, 28, 28), np.uint8)
    assert cycle_error(images, images) == 0
    assert cycle_error(images, images + np.uint8(51)) == pytest.approx(0.2)


def test_probes_find_what_a_code_reveals_and_nothing_in_noise() -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 10, 4000)
    noise = rng.normal(size=(4000, 4)).astype(np.float32)
    blind = probe_measures(noise[:2000], labels[:2000], noise[2000:], labels[2000:], 0)
    assert max(blind.values()) < 0.15
    # The digit is encoded in the length of the code, where no linear probe sees it.
    ring = noise / np.linalg.norm(noise, axis=1, keepdims=True) * (1 + labels[:, None] / 3).astype(np.float32)
    seen = probe_measures(ring[:2000], labels[:2000], ring[2000:], labels[2000:], 0)
    assert seen["probe_linear"] < 0.2
    assert seen["probe"] > 0.4


def test_codes_take_no_more_values_than_there_are_levels(digits: tuple[Split, Split]) -> None:
    torch.manual_seed(0)
    codes = style_codes(Swapper(CONFIG.net), digits[0].images[:200])
    assert codes.shape == (200, 4)
    assert set(np.unique(codes)) <= {-1.0, -0.5, 0.0, 0.5, 1.0}


def test_an_even_number_of_levels_is_refused() -> None:
    with pytest.raises(ValueError, match="must be odd"):
        SwapNet(gan=GAN, levels=4, encoder_widths=(4, 8, 8))


def train(splits: tuple[Split, Split], directory: Path, *extra: Callback, config: TrainSwap = CONFIG) -> Fitted:
    train_split, validation = splits
    torch.manual_seed(config.fit.seed)
    usual = usual_handwriting(to_unit(torch.from_numpy(train_split.images)), torch.from_numpy(train_split.labels), 10)
    module = SwapTraining(config, usual)
    return fit_to_loss(module, train_split.pairs, validation.pairs, config.fit, directory, lambda *_: None, extra)


@pytest.fixture(scope="module")
def uninterrupted(digits: tuple[Split, Split], tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return train(digits, tmp_path_factory.mktemp("swap"))


@pytest.mark.parametrize("step", [3, 12])
def test_a_killed_training_resumes_to_the_same_weights(
    step: int, uninterrupted: Fitted, digits: tuple[Split, Split], tmp_path: Path
) -> None:
    with pytest.raises(KilledError):
        train(digits, tmp_path, KillAt(step))
    resumed = train(digits, tmp_path)
    assert equal(uninterrupted.state, resumed.state)
    assert uninterrupted.history == resumed.history


def test_epochs_are_compared_without_the_verdicts_of_judges_that_change(uninterrupted: Fitted) -> None:
    weights, judged = CONFIG.weights.model_dump(), ("realism", "secrecy")
    for row in uninterrupted.history:
        comparable = sum(weight * row[f"val/{name}"] for name, weight in weights.items() if name not in judged)
        assert row["val/loss"] == pytest.approx(comparable, rel=1e-4)
        assert row["val/realism"] > 0


@pytest.mark.extended
def test_the_swapper_learns_to_draw_the_requested_digit(digits: tuple[Split, Split], tmp_path: Path) -> None:
    longer = CONFIG.model_copy(update={"fit": CONFIG.fit.model_copy(update={"epochs": 3, "steps_per_epoch": 100})})
    fitted = train(digits, tmp_path, config=longer)
    first, last = fitted.history[0], fitted.history[-1]
    assert last["val/identity"] < first["val/identity"]
    assert last["val/pixels"] < first["val/pixels"]
    net = Swapper(CONFIG.net)
    net.load_state_dict(part_of(fitted.state, "net."))
    source = digits[1].images[:20]
    drawn = [swap_digits(net, source, np.full(20, digit)) for digit in (0, 1)]
    middle = [images[:, 11:17, 12:16].mean() for images in drawn]
    assert middle[0] < 0.7 * middle[1]  # a zero is empty where a one has its stroke


@given(st.integers(2, 30), st.integers(0, 1000))
def test_the_auc_is_the_share_of_correctly_ordered_pairs(count: int, seed: int) -> None:
    real, fake = np.random.default_rng(seed).normal(size=(2, count))
    pairs = (fake[:, None] > real[None]).mean()
    assert auc(real, fake) == pytest.approx(pairs)
    weights = np.random.default_rng(seed).integers(1, 4, count)
    assert auc(real, fake, np.tile(weights, 2)) == pytest.approx(auc(real.repeat(weights), fake.repeat(weights)))


def test_each_kind_of_fake_is_measured_separately() -> None:
    real = np.linspace(0, 0.4, 100)
    fake = np.where(np.arange(100) % 2, 0.2, 0.9)  # those drawn from noise are found, the swapped ones are not
    found = fakes_measures(np.concatenate([real, fake]))
    assert found["auc_generated"] == 1
    assert found["auc_swapped"] == pytest.approx(0.5, abs=0.01)
    assert found["found_at_1_percent"] == pytest.approx(0.5, abs=0.01)
    assert found["accuracy"] == pytest.approx(0.75)


def test_strokes_counts_pieces_holes_and_blur() -> None:
    ring = bar(12)
    ring[8:20, 11:17] = 0
    dotted = bar(4)
    dotted[12:15] = 0
    diagonal = np.zeros((28, 28), np.uint8)
    np.fill_diagonal(diagonal, 255)  # pixels that touch at corners belong to one piece
    found = strokes(np.stack([bar(4), ring, dotted, diagonal]))
    assert found == {"whole": 0.75, "holes": 0.25, "soft": 0.0}
    assert strokes(bar(4)[None] // 2 + 1)["soft"] == 1
    assert strokes(np.zeros((1, 28, 28), np.uint8)) == {"whole": 0.0, "holes": 0.0, "soft": 0.0}
