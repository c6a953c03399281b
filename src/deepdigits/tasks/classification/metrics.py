"""Metrics of a classifier, with confidence intervals. All functions take and return numpy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import softmax
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support
from torchmetrics.functional.classification import multiclass_calibration_error

from deepdigits.core.statistics import wilson_interval


@dataclass(frozen=True)
class ClassifierReport:
    """Scalar metrics by name; `precision`, `recall` and `f1` per class; counts `confusion[actual, predicted]`."""

    scalars: dict[str, float]
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    confusion: np.ndarray


def classifier_report(probabilities: np.ndarray, labels: np.ndarray, calibration_bins: int) -> ClassifierReport:
    """Score class probabilities `(n, k)` against labels `(n,)`.

    Scalars: `accuracy` with `accuracy_low` and `accuracy_high` (95 % Wilson), `errors` (count),
    `min_class_recall`, `nll` (mean negative log-likelihood, nats) and `ece` (expected calibration error in
    equal-width bins; Guo et al., 2017, arXiv:1706.04599).
    """
    predicted = probabilities.argmax(axis=1)
    correct = int((predicted == labels).sum())
    low, high = wilson_interval(correct, len(labels))
    classes = list(range(probabilities.shape[1]))
    precision, recall, f1, _ = precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0)
    ece = multiclass_calibration_error(
        torch.from_numpy(probabilities), torch.from_numpy(labels), num_classes=len(classes), n_bins=calibration_bins
    )
    exact = probabilities.astype(np.float64)
    scalars = {
        "accuracy": correct / len(labels),
        "accuracy_low": low,
        "accuracy_high": high,
        "errors": float(len(labels) - correct),
        "min_class_recall": float(np.min(recall)),
        "nll": float(log_loss(labels, exact / exact.sum(axis=1, keepdims=True), labels=classes)),
        "ece": float(ece),
    }
    confusion = confusion_matrix(labels, predicted, labels=classes)
    return ClassifierReport(scalars, np.asarray(precision), np.asarray(recall), np.asarray(f1), confusion)


@dataclass(frozen=True)
class PairedComparison:
    """How many images only one of two classifiers got right, and the exact McNemar p-value of that split."""

    only_first_right: int
    only_second_right: int
    p_value: float


def mcnemar(first_correct: np.ndarray, second_correct: np.ndarray) -> PairedComparison:
    """Compare two classifiers on the same images with a two-sided McNemar test (1947, doi:10.1007/BF02295996).

    Args:
        first_correct, second_correct: bool `(n,)`, whether each image was classified correctly.
    """
    first = int((first_correct & ~second_correct).sum())
    second = int((second_correct & ~first_correct).sum())
    p_value = float(binomtest(first, first + second).pvalue) if first + second else 1.0
    return PairedComparison(first, second, p_value)


def worst_mistakes(probabilities: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Rows of at most `count` misclassified images, the most confident mistakes first."""
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    confidence = probabilities[wrong, predicted[wrong]]
    return np.asarray(wrong[np.argsort(-confidence, kind="stable")][:count])


def without_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """The probabilities the same network would give without temperature scaling, float32 `(n, k)`."""
    logits = temperature * np.log(probabilities.astype(np.float64).clip(1e-38))
    return np.asarray(softmax(logits, axis=1).astype(np.float32))


def contradicted(answers: Sequence[np.ndarray], labels: np.ndarray, confidence: float) -> np.ndarray:
    """Rows whose label every classifier contradicts with at least `confidence`.

    `answers` holds probabilities `(n, k)`, one array per classifier.
    """
    against = [(answer.argmax(axis=1) != labels) & (answer.max(axis=1) >= confidence) for answer in answers]
    return np.flatnonzero(np.all(against, axis=0))


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int) -> list[dict[str, float]]:
    """Mean confidence, accuracy and count in equal-width confidence bins; empty bins are omitted."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        {
            "confidence": float(confidence[index == bin_].mean()),
            "accuracy": float(correct[index == bin_].mean()),
            "count": float((index == bin_).sum()),
        }
        for bin_ in range(bins)
        if (index == bin_).any()
    ]
