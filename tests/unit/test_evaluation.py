import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.linalg import sqrtm

from deepdigits.core.statistics import wilson_interval
from deepdigits.plotting.figures import (
    save_animation,
    save_captioned,
    save_confusion,
    save_image_grid,
    save_reliability,
)
from deepdigits.plotting.plots import (
    save_by_step,
    save_convolution,
    save_curves,
    save_occlusions,
    save_robustness,
)
from deepdigits.tasks.classification.metrics import classifier_report, mcnemar, reliability, worst_mistakes
from deepdigits.tasks.gan.metrics import diversity, fool_rate, frechet_distance, manifold_metrics

RNG = np.random.default_rng(0)


def one_hot(predicted: np.ndarray, confidence: float = 1.0) -> np.ndarray:
    rest = (1 - confidence) / 9
    return np.where(np.arange(10) == predicted[:, None], confidence, rest).astype(np.float32)


def test_wilson_matches_the_published_example() -> None:
    low, high = wilson_interval(9970, 10_000)  # 99.70% of ten thousand
    assert (round(low, 4), round(high, 4)) == (0.9957, 0.9979)


@given(st.integers(0, 50), st.integers(1, 50))
def test_wilson_contains_the_share_and_stays_in_range(successes: int, more: int) -> None:
    trials = successes + more
    low, high = wilson_interval(successes, trials)
    assert 0 <= low <= successes / trials <= high <= 1


def test_a_classifier_report_matches_hand_counted_figures() -> None:
    labels = np.repeat(np.arange(10), 10)
    predicted = labels.copy()
    predicted[:5] = 6  # five zeros read as six
    report = classifier_report(one_hot(predicted, 0.91), labels, 15)
    assert report.scalars["accuracy"] == 0.95
    assert report.scalars["errors"] == 5
    assert report.recall[0] == 0.5
    assert report.precision[6] == pytest.approx(10 / 15)
    assert report.confusion[0, 6] == 5
    assert report.scalars["min_class_recall"] == 0.5
    assert report.scalars["ece"] == pytest.approx(0.04, abs=1e-6)  # confidence 0.91, accuracy 0.95
    assert report.scalars["nll"] == pytest.approx(-(95 * np.log(0.91) + 5 * np.log(0.01)) / 100, rel=1e-5)


def test_mcnemar_of_known_counts() -> None:
    first = np.array([True] * 90 + [True] * 9 + [False] * 1)
    second = np.array([True] * 90 + [False] * 9 + [True] * 1)
    comparison = mcnemar(first, second)
    assert (comparison.only_first_right, comparison.only_second_right) == (9, 1)
    assert comparison.p_value == pytest.approx(2 * (1 + 10) / 2**10)
    assert mcnemar(first, first).p_value == 1.0


def test_the_most_confident_mistakes_come_first() -> None:
    labels = np.array([0, 1, 2, 3])
    answers = np.concatenate([one_hot(np.array([5]), 0.6), one_hot(np.array([1])), one_hot(np.array([7, 8]), 0.9)])
    assert worst_mistakes(answers, labels, 2).tolist() == [2, 3]
    assert worst_mistakes(answers, labels, 9).tolist() == [2, 3, 0]


def test_reliability_bins_hold_every_image_once() -> None:
    answers = RNG.dirichlet(np.ones(10), 500).astype(np.float32)
    labels = RNG.integers(0, 10, 500)
    bins = reliability(answers, labels, 15)
    assert sum(entry["count"] for entry in bins) == 500
    accuracy = sum(entry["accuracy"] * entry["count"] for entry in bins) / 500
    assert accuracy == pytest.approx((answers.argmax(1) == labels).mean())


def test_frechet_distance_of_known_gaussians() -> None:
    points = RNG.standard_normal((4000, 6))
    mixing = RNG.standard_normal((6, 6))
    other = points @ mixing + 2
    cov_a, cov_b = np.cov(points, rowvar=False), np.cov(other, rowvar=False)
    shift = points.mean(0) - other.mean(0)
    expected = shift @ shift + np.trace(cov_a + cov_b - 2 * np.real(sqrtm(cov_a @ cov_b)))
    assert frechet_distance(points, other) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(points, points) == pytest.approx(0, abs=1e-8)
    assert frechet_distance(other, points) == pytest.approx(expected, rel=1e-6)


def test_manifold_metrics_detect_collapse_and_nonsense() -> None:
    real, same = RNG.standard_normal((2, 400, 5))
    good = manifold_metrics(real, same, 5)
    assert min(good.precision, good.recall, good.coverage) > 0.85
    assert 0.8 < good.density < 1.2
    collapsed = manifold_metrics(real, np.repeat(real[:4], 100, axis=0) + 1e-3 * RNG.standard_normal((400, 5)), 5)
    assert collapsed.precision == 1
    assert collapsed.coverage < 0.15
    assert collapsed.recall < 0.15
    far = manifold_metrics(real, same + 50, 5)
    assert (far.precision, far.recall, far.density, far.coverage) == (0, 0, 0, 0)


def test_manifold_metrics_do_not_depend_on_the_chunk_size() -> None:
    real, fake = RNG.standard_normal((2, 1100, 4))
    whole = manifold_metrics(real, fake, 5)
    distance = np.sqrt(((fake[:, None] - real[None]) ** 2).sum(-1))
    radius = np.sort(np.sqrt(((real[:, None] - real[None]) ** 2).sum(-1)), axis=1)[:, 5]
    assert whole.coverage == pytest.approx((distance.min(0) < radius).mean())
    assert whole.density == pytest.approx((distance < radius).sum() / (5 * 1100))


def test_diversity_is_zero_only_for_a_collapsed_class() -> None:
    labels = np.repeat(np.arange(10), 8)
    images = RNG.integers(0, 256, (80, 28, 28)).astype(np.uint8)
    images[labels == 3] = images[labels == 3][0]
    spread = diversity(images, labels)
    assert spread[3] == pytest.approx(0, abs=1e-4)
    assert (np.delete(spread, 3) > 1000).all()


def test_fool_rate_is_measured_at_the_median_of_real_scores() -> None:
    real = np.array([0.0, 1.0, 2.0])
    assert fool_rate(real, np.array([-5.0, 1.0, 1.1, 9.0])) == 0.5


def test_figures_have_the_same_bytes_each_time(tmp_path) -> None:
    images = RNG.integers(0, 256, (12, 28, 28)).astype(np.uint8)
    bins = [{"confidence": 0.5, "accuracy": 0.4, "count": 10.0}, {"confidence": 1.0, "accuracy": 1.0, "count": 90.0}]
    for name in ("a", "b"):
        save_image_grid(images, tmp_path / f"{name}_grid.png", columns=5)
        save_confusion(np.eye(10, dtype=int) * 7, tmp_path / f"{name}_confusion.png", "t", list("0123456789"))
        save_reliability(bins, tmp_path / f"{name}_reliability.png", "t")
        save_captioned(images, ["x"] * 12, tmp_path / f"{name}_captioned.png", "t")
        save_captioned([], [], tmp_path / f"{name}_none.png", "mistakes")
    for kind in ("grid", "confusion", "reliability", "captioned", "none"):
        first, second = (tmp_path / f"{name}_{kind}.png" for name in ("a", "b"))
        assert first.read_bytes() == second.read_bytes()
        assert first.read_bytes().startswith(b"\x89PNG")


def test_plots_have_the_same_bytes_each_time(tmp_path) -> None:
    images = RNG.integers(0, 256, (4, 28, 28)).astype(np.uint8)
    kernels, maps = RNG.normal(size=(11, 3, 3)), RNG.normal(size=(11, 28, 28))
    for name in ("a", "b"):
        save_robustness(
            {"cnn": {"fog": 0.5, "scale": 0.9}, "rnn": {"fog": 0.1, "scale": 1.0}}, tmp_path / f"{name}_1.png"
        )
        save_curves({"CNN": ([0, 1], [1, 0.5])}, tmp_path / f"{name}_2.png", "t", "x", "y")
        save_occlusions(list(images), maps[:4], ["c"] * 4, tmp_path / f"{name}_3.png")
        save_occlusions([], maps[:0], [], tmp_path / f"{name}_4.png")
        save_convolution(images[0], kernels, maps, tmp_path / f"{name}_5.png")
        beliefs = list(RNG.random((3, 28, 10)) * 0 + 0.5)
        save_by_step(list(images[:3]), beliefs, list("0123456789"), False, tmp_path / f"{name}_6.png")
    for kind in range(1, 7):
        first, second = (tmp_path / f"{name}_{kind}.png" for name in ("a", "b"))
        assert first.read_bytes() == second.read_bytes()


def test_an_animation_holds_every_frame_in_order(tmp_path) -> None:
    frames = []
    for index, level in enumerate((0, 120, 250)):
        frames.append(tmp_path / f"{index}.png")
        save_image_grid(np.full((1, 28, 28), level, np.uint8), frames[-1], columns=1)
    save_animation(frames, tmp_path / "one.gif")
    save_animation(frames, tmp_path / "two.gif")
    assert (tmp_path / "one.gif").read_bytes() == (tmp_path / "two.gif").read_bytes()
    with Image.open(tmp_path / "one.gif") as animation:
        levels = []
        for index in range(animation.n_frames):
            animation.seek(index)
            levels.append(animation.convert("L").getpixel((30, 30)))
    assert levels == [pytest.approx(level, abs=3) for level in (0, 120, 250)]
