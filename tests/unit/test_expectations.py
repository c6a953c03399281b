"""The data gate, on real images: it lets good data through and names what is wrong with bad data."""

from collections.abc import Callable

import numpy as np
import pytest

from deepdigits.core.loading import read_params
from deepdigits.data.digits.splits import Split, stratified_rows
from deepdigits.data.validation.expectations import ROW_NAMES, Verdict, check, expectations
from deepdigits.data.validation.frame import class_frame, image_frame, split_frame
from deepdigits.data.validation.neighbours import label_disagreement
from deepdigits.data.validation.verdict import example_rows, expected_counts, index_page, verdict_summary
from deepdigits.release.datasets import read_dataset
from deepdigits.release.params import Params
from tests.conftest import ROOT

PARAMS = read_params(Params, ROOT / "params.yaml")
DESCRIBED, DIGITS = read_dataset(ROOT, "digits"), list("0123456789")
Splits = dict[str, Split]


@pytest.fixture(scope="module")
def good(digits: tuple[Split, Split]) -> Splits:
    train, test = digits
    rest, chosen = stratified_rows(train.labels, DESCRIBED.images.validation, 0)
    return {"train": train.take(rest), "validation": train.take(chosen), "test": test}


def judge(splits: Splits) -> Verdict:
    images = image_frame(splits)
    counts = expected_counts(DESCRIBED.images, None)
    frames = {
        "images": images,
        "splits": split_frame(images, counts, label_disagreement(splits)),
        "classes": class_frame(splits, 10),
    }
    return check(frames, expectations(DESCRIBED.bands, PARAMS.validate_.max_off_center_fraction, DIGITS), ROW_NAMES, 20)


def with_images(split: Split, change: Callable[[np.ndarray], np.ndarray]) -> Split:
    return Split(change(split.images.copy()), split.labels)


def put(images: np.ndarray, row: int, value: int) -> np.ndarray:
    images[row] = value
    return images


def shuffled(split: Split, part: int) -> Split:
    """Permute the labels of every `part`-th image among themselves."""
    labels, rows = split.labels.copy(), np.arange(0, len(split), part)
    labels[rows] = np.random.default_rng(0).permutation(labels[rows])
    return Split(split.images, labels)


def test_good_data_pass_and_the_report_says_so(good: Splits) -> None:
    verdict = judge(good)
    assert verdict.success, verdict.failed
    summary = verdict_summary(verdict, {"name": "digits", "sha256": "0"})
    assert (summary["expectations.evaluated"], summary["expectations.failed"]) == (20, 0)
    assert "20 of 20 expectations are met" in index_page(verdict, {}, "digits")


def test_data_in_another_order_pass(good: Splits) -> None:
    order = np.random.default_rng(3).permutation(len(good["train"]))
    assert judge({**good, "train": good["train"].take(order)}).success


def test_the_pages_are_the_same_each_time_and_load_nothing_external(good: Splits) -> None:
    first, second = judge(good), judge(good)
    assert first.pages == second.pages
    for page in first.pages.values():
        assert "<script src=" not in page
        assert "<link " not in page


FAULTS: dict[str, tuple[Callable[[Splits], Splits], str]] = {
    "inverted pixels": (
        lambda s: {**s, "train": with_images(s["train"], lambda x: 255 - x)},
        "mean pixel of each split",
    ),
    "one blank image": (lambda s: {**s, "test": with_images(s["test"], lambda x: put(x, 7, 0))}, "full ink"),
    "one saturated image": (lambda s: {**s, "test": with_images(s["test"], lambda x: put(x, 7, 255))}, "background"),
    "shifted off centre": (lambda s: {**s, "test": with_images(s["test"], lambda x: np.roll(x, 4, 2))}, "horizontally"),
    "rotated split": (
        lambda s: {**s, "test": with_images(s["test"], lambda x: np.rot90(x, 1, (1, 2)))},
        "looks the same",
    ),
    "test image in train": (
        lambda s: {
            **s,
            "train": Split(np.concatenate([s["train"].images[1:], s["test"].images[:1]]), s["train"].labels),
        },
        "appears twice",
    ),
    "shuffled labels": (
        lambda s: {**s, "train": Split(s["train"].images, np.random.default_rng(0).permutation(s["train"].labels))},
        "look different from one another",
    ),
    "labels shuffled in a twentieth of train": (lambda s: {**s, "train": shuffled(s["train"], 20)}, "labels fit"),
    "labels shuffled in a tenth of test": (lambda s: {**s, "test": shuffled(s["test"], 10)}, "labels fit"),
    "a missing class": (
        lambda s: {**s, "test": s["test"].take(np.flatnonzero(s["test"].labels != 3))},
        "every digit is in",
    ),
    "a label of 10": (
        lambda s: {**s, "train": Split(s["train"].images, np.where(np.arange(1200) == 5, 10, s["train"].labels))},
        "every label is a digit",
    ),
    "too few images": (lambda s: {**s, "train": s["train"].take(np.arange(1100))}, "expected number"),
    "dimmed": (lambda s: {**s, "train": with_images(s["train"], lambda x: x // 2)}, "full ink"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_fails_the_expectation_meant_for_it(fault: str, good: Splits) -> None:
    inject, expectation = FAULTS[fault]
    splits = inject(good)
    verdict = judge(splits)
    matching = [outcome for outcome in verdict.failed if expectation in outcome.name]
    assert matching, [outcome.name for outcome in verdict.failed]
    rows = example_rows(matching[0], splits, 20)
    if fault == "a missing class":
        assert rows == []  # there is no image to show
    else:
        assert rows
        assert all(0 <= index < len(splits[split]) for split, index in rows)


def test_the_example_rows_are_the_faulty_images(good: Splits) -> None:
    splits = {**good, "test": with_images(good["test"], lambda x: put(x, 7, 0))}
    outcome = next(item for item in judge(splits).failed if "full ink" in item.name)
    assert outcome.rows == [{"image": "test/7"}]
    assert outcome.observed.startswith("1 of 1797 rows violate it")


def test_a_missing_column_fails_instead_of_passing_unnoticed(good: Splits) -> None:
    images = image_frame(good).drop(columns="std")
    counts = expected_counts(DESCRIBED.images, None)
    frames = {
        "images": images,
        "splits": split_frame(image_frame(good), counts, label_disagreement(good)),
        "classes": class_frame(good, 10),
    }
    verdict = check(frames, expectations(DESCRIBED.bands, 0.0, DIGITS), ROW_NAMES, 20)
    assert {"the frame has exactly the expected columns"} < {item.name for item in verdict.failed}
    assert any("could not be evaluated" in item.observed for item in verdict.failed)


def test_features_of_a_known_image() -> None:
    image = np.zeros((2, 28, 28), np.uint8)
    image[0, 10:12, 4:8] = 200
    row, blank = image_frame({"train": Split(image, np.array([1, 2]))}).to_dict("records")
    assert (row["top"], row["bottom"], row["left"], row["right"]) == (10, 11, 4, 7)
    assert (row["center_row"], row["center_column"]) == (10.5, 5.5)
    assert row["mean"] == pytest.approx(8 * 200 / 784)
    assert row["ink"] == pytest.approx(8 / 784)
    assert (blank["top"], blank["center_row"], blank["high"]) == (-1, -1, 0)
