"""Splits of own data, and what is found in them: duplicates, images that look alike, uneven classes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepdigits.core.errors import UserError
from deepdigits.data.digits.splits import Split
from deepdigits.data.own.findings import examine, pairs_alike
from deepdigits.data.own.labelled import Labelled
from deepdigits.data.own.splitting import split_rows
from tests.unit.own_sources import data

SHARES = {"validation": 0.2, "test": 0.25}


def test_shares_are_stratified_and_complete() -> None:
    rows = split_rows(data(), SHARES, seed=1)
    assert sorted(np.concatenate(list(rows.values()))) == list(range(60))
    assert (len(rows["test"]), len(rows["validation"]), len(rows["train"])) == (15, 9, 36)
    for part in rows.values():
        counts = np.bincount(part % 3)
        assert counts.max() - counts.min() <= 1
    assert all(np.array_equal(a, b) for a, b in zip(rows.values(), split_rows(data(), SHARES, 1).values(), strict=True))


def test_given_splits_are_kept_and_the_missing_one_is_split_off_train() -> None:
    given = np.array(["train"] * 40 + ["test"] * 20)
    rows = split_rows(data(splits=given), SHARES, seed=1)
    assert rows["test"].tolist() == list(range(40, 60))
    assert len(rows["validation"]) == 8
    assert set(rows["validation"]) | set(rows["train"]) == set(range(40))


@given(st.integers(3, 12), st.integers(0, 5))
def test_no_group_is_in_two_splits(groups: int, seed: int) -> None:
    source = data(groups=np.array([f"g{n % groups}" for n in range(60)]))
    rows = split_rows(source, SHARES, seed)
    assert source.groups is not None
    held = [set(source.groups[part]) for part in rows.values()]
    assert all(held)
    assert sum(map(len, held)) == groups


def test_named_groups_are_held_out() -> None:
    source = data(groups=np.array([f"s{n % 6}" for n in range(60)]))
    rows = split_rows(source, SHARES, 0, {"test": ["s4"], "validation": ["s2"]})
    assert source.groups is not None
    assert set(source.groups[rows["test"]]) == {"s4"}
    assert set(source.groups[rows["validation"]]) == {"s2"}
    with pytest.raises(UserError, match="There is no group 's9'"):
        split_rows(source, SHARES, 0, {"test": ["s9"]})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda: data(splits=np.array(["test"] * 60)), "has none to train on"),
        (lambda: data(groups=np.array(["one"] * 60)), "only 'one' is left"),
        (lambda: data(count=9), "cannot be split off"),
        (
            lambda: Labelled(np.zeros((6, 28, 28), np.uint8), np.array([0, 0, 0, 0, 0, 1]), ["a", "b"], [""] * 6),
            "class 'b' has only one image",
        ),
    ],
)
def test_data_that_cannot_be_split_are_refused(source: Callable[[], Labelled], message: str) -> None:
    with pytest.raises(UserError, match=message):
        split_rows(source(), SHARES, 0)


def test_duplicates_are_named_by_kind() -> None:
    images = data(40).images.copy()
    images[1], images[3], images[6] = images[0], images[2], images[4]
    labels = np.array([0, 1] * 20)
    splits = np.array(["train"] * 6 + ["test"] * 34)
    found = examine(Labelled(images, labels, ["a", "b"], [f"{n}.png" for n in range(40)], splits))
    assert [error.split(":")[0] for error in found.errors] == [
        "2 images appear with different labels", "1 image appears in two splits",
    ]  # fmt: skip
    assert "0.png and 1.png" in found.errors[0]
    assert "4.png and 6.png" in found.errors[1]


def test_a_test_split_that_is_a_copy_of_train_is_an_error() -> None:
    images = np.concatenate([data(30).images] * 2)
    splits = np.repeat(["train", "test"], 30)
    source = Labelled(images, np.tile(np.arange(30) % 3, 2), ["0", "1", "2"], [str(n) for n in range(60)], splits)
    (error,) = examine(source).errors
    assert error.startswith("30 images appear in two splits")


def test_images_that_look_alike_are_found_and_others_are_not(digits: tuple[Split, Split]) -> None:
    images = digits[0].images[:200].copy()
    nearly = images[5].copy()
    nearly[0, 0] = 3
    pairs = pairs_alike(np.concatenate([images, nearly[None]]))
    assert [5, 200] in pairs.tolist()
    assert len(pairs) < 20


def test_small_and_uneven_classes_are_warned_of() -> None:
    labels = np.array([0] * 50 + [1] * 10)
    found = examine(Labelled(data().images, labels, ["many", "few"], [""] * 60))
    assert found.counts == {"many": 50, "few": 10}
    assert any("'few' has only 10 images" in warning for warning in found.warnings)
    assert any("always answering 'many' would be right for 83.3%" in warning for warning in found.warnings)
