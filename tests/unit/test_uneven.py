"""Metrics for uneven classes, against scikit-learn's, and their bootstrap intervals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score, roc_auc_score

from deepdigits.tasks.classification.uneven import _Curve, uneven_measures


def answers(count: int, classes: int, seed: int, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are right more often than not, and uneven labels in which every class occurs."""
    rng = np.random.default_rng(seed)
    shares = np.arange(1, classes + 1) / np.arange(1, classes + 1).sum()
    labels = np.concatenate([np.arange(classes), rng.choice(classes, count - classes, p=shares)])
    logits = rng.normal(size=(count, classes)) + 1.5 * np.eye(classes)[labels]
    if ties:
        logits = logits.round()
    return (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32), labels


@given(st.integers(2, 6), st.integers(0, 50), st.booleans())
@settings(max_examples=25)
def test_they_agree_with_scikit_learn(classes: int, seed: int, ties: bool) -> None:
    probabilities, labels = answers(120, classes, seed, ties)
    found = uneven_measures(probabilities, labels, seed)
    predicted, truth = probabilities.argmax(axis=1), np.eye(classes)[labels]
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert found["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert found["roc_auc"] == pytest.approx(roc_auc_score(truth, probabilities, average="macro"))
    assert found["average_precision"] == pytest.approx(average_precision_score(truth, probabilities, average="macro"))
    assert found["baseline_accuracy"] == np.bincount(labels).max() / 120
    for name in ("balanced_accuracy", "macro_f1", "roc_auc", "average_precision"):
        assert found[f"{name}_low"] <= found[f"{name}_high"]


def test_weights_act_as_repetitions() -> None:
    probabilities, labels = answers(60, 2, 3, ties=True)
    weights = np.random.default_rng(0).integers(0, 4, 60)
    curve = _Curve(probabilities[:, 1], labels == 1)
    repeated = np.repeat(np.arange(60), weights)
    area, precision = curve.areas(weights)
    assert area == pytest.approx(roc_auc_score(labels[repeated], probabilities[repeated, 1]))
    assert precision == pytest.approx(average_precision_score(labels[repeated], probabilities[repeated, 1]))


def test_the_interval_is_as_wide_as_chance() -> None:
    """With 100 images at 80 % accuracy, the standard deviation is 4 points."""
    rng = np.random.default_rng(1)
    labels = np.arange(100) % 2
    right = rng.permutation(np.arange(100) < 80)
    probabilities = np.eye(2)[np.where(right, labels, 1 - labels)] * 0.8 + 0.1
    found = uneven_measures(probabilities, labels, 0)
    assert found["balanced_accuracy_high"] - found["balanced_accuracy_low"] == pytest.approx(4 * 0.04, rel=0.25)


def test_a_class_without_images_is_left_out() -> None:
    probabilities, labels = answers(50, 3, 0)
    without = probabilities[labels != 1], labels[labels != 1]
    found = uneven_measures(*without, seed=0)
    assert all(np.isfinite(value) for value in found.values())
    assert found["balanced_accuracy"] == pytest.approx(
        balanced_accuracy_score(without[1], without[0].argmax(axis=1)), abs=0.1
    )
