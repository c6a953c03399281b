"""Metrics that do not hide rare classes, with bootstrap intervals. All functions take and return numpy arrays."""

from __future__ import annotations

import numpy as np

ROUNDS = 200  # bootstrap samples
LEVELS = (0.025, 0.975)


def uneven_measures(probabilities: np.ndarray, labels: np.ndarray, seed: int) -> dict[str, float]:
    """The metrics of class probabilities `(n, k)` against labels `(n,)`, as a flat dict.

    They are means over the classes that occur: `balanced_accuracy` (recall), `macro_f1`, `roc_auc` (one class against
    the rest) and `average_precision`, each with its 95 % bootstrap interval as `NAME_low` and `NAME_high`.
    `baseline_accuracy` is the share of the largest class: the accuracy of always answering it.
    """
    curves = [_Curve(probabilities[:, label], labels == label) for label in np.unique(labels)]
    counts = np.ones(len(labels))
    found = _measures(counts, probabilities, labels, curves)
    rng = np.random.default_rng(seed)
    samples = [
        _measures(rng.multinomial(len(labels), np.full(len(labels), 1 / len(labels))), probabilities, labels, curves)
        for _ in range(ROUNDS)
    ]
    intervals = {
        f"{name}_{end}": float(np.nanquantile([sample[name] for sample in samples], level))
        for name in found
        for end, level in zip(("low", "high"), LEVELS, strict=True)
    }
    return {**found, **intervals, "baseline_accuracy": float(np.bincount(labels).max() / len(labels))}


def _measures(
    weights: np.ndarray, probabilities: np.ndarray, labels: np.ndarray, curves: list[_Curve]
) -> dict[str, float]:
    classes = probabilities.shape[1]
    cells = np.bincount(labels * classes + probabilities.argmax(axis=1), weights, classes**2).reshape(classes, classes)
    right, actual, predicted = np.diag(cells), cells.sum(axis=1), cells.sum(axis=0)
    there = actual > 0
    with np.errstate(invalid="ignore"):
        f1 = 2 * right / (actual + predicted)
    areas = [curve.areas(weights) for curve in curves]
    return {
        "balanced_accuracy": float((right[there] / actual[there]).mean()),
        "macro_f1": float(np.nan_to_num(f1[there]).mean()),
        "roc_auc": float(np.nanmean([area for area, _ in areas])),
        "average_precision": float(np.nanmean([precision for _, precision in areas])),
    }


class _Curve:
    """One class against the rest: sorted once, and then weighted as often as wanted. Ties are exact."""

    def __init__(self, scores: np.ndarray, is_class: np.ndarray):
        _, self.place = np.unique(scores, return_inverse=True)
        self.is_class = is_class

    def areas(self, weights: np.ndarray) -> tuple[float, float]:
        """The area under the ROC curve and the average precision; NaN if the weighted images are all of one kind."""
        size = self.place.max() + 1
        inside = np.bincount(self.place, weights * self.is_class, size)
        outside = np.bincount(self.place, weights * ~self.is_class, size)
        if not inside.any() or not outside.any():
            return np.nan, np.nan
        below = np.cumsum(outside) - outside
        area = (inside * (below + outside / 2)).sum() / (inside.sum() * outside.sum())
        found, alarms = np.cumsum(inside[::-1]), np.cumsum(outside[::-1])
        precision = (inside[::-1] * found / np.maximum(found + alarms, 1e-12)).sum() / inside.sum()
        return float(area), float(precision)
