"""Evaluate a classifier on the test images, and plot where it fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import nn

from deepdigits.core import paths
from deepdigits.core.files import read_json, write_csv
from deepdigits.data.digits.splits import Split, load_split
from deepdigits.nn.contrast import Temperature
from deepdigits.plotting.figures import save_captioned, save_confusion, save_reliability
from deepdigits.plotting.plots import save_occlusions
from deepdigits.tasks.classification.explanation import occlusion
from deepdigits.tasks.classification.inference import probabilities
from deepdigits.tasks.classification.metrics import (
    classifier_report,
    reliability,
    without_temperature,
    worst_mistakes,
)
from deepdigits.tasks.classification.robustness import (
    Predict,
    corrupted_accuracy,
    coverage_at,
    fgsm_accuracy,
    selective_accuracy,
)
from deepdigits.tasks.classification.uneven import uneven_measures
from deepdigits.tasks.config import Evaluate

# Test images whose labels are disputed according to a public relabelling of MNIST.
DISPUTED = (947, 1621, 1901, 2130, 2462, 2597, 2654, 3520, 3558, 5937, 6651, 6783, 8527, 9679, 9729)
MNIST_TEST_IMAGES = 10_000


def evaluate_classifier(name: str, network: nn.Module, figures: Path, config: Evaluate) -> dict[str, float]:
    """Compute all measures of one classifier; write its figures, and its predictions for `dvc plots`."""
    test = load_split(paths.split_file("test"))
    answers = probabilities(network, test.images)
    classes = read_json(paths.MANIFEST)["classes"]
    measures = {
        **_answer_measures(name, network, answers, test, classes, figures, config),
        **uneven_measures(answers, test.labels, config.seed),
        **robustness_measures(partial(probabilities, network), test, config.seed),
        **_attack_measures(network, answers, test, config),
    }
    if read_json(paths.MANIFEST)["name"] == "mnist" and len(test) == MNIST_TEST_IMAGES:
        kept = np.setdiff1d(np.arange(len(test)), DISPUTED)
        measures["accuracy_undisputed"] = float((answers[kept].argmax(axis=1) == test.labels[kept]).mean())
    _explain_mistakes(name, network, answers, test, classes, figures, config)
    return measures


def robustness_measures(predict: Predict, test: Split, seed: int) -> dict[str, float]:
    """Accuracy under each corruption, and the mean and the worst over all corruptions."""
    found = corrupted_accuracy(predict, test.images, test.labels, seed)
    return {
        **{f"corrupted.{key}": value for key, value in found.items()},
        "corrupted_mean": float(np.mean(list(found.values()))),
        "corrupted_worst": float(np.min(list(found.values()))),
    }


def summary(measures: Mapping[str, Any]) -> str:
    low, high = measures["accuracy_low"], measures["accuracy_high"]
    return (
        f"accuracy {measures['accuracy']:.2%} (95 % interval {low:.2%} to {high:.2%}; always the largest class: "
        f"{measures['baseline_accuracy']:.2%})"
    )


def _answer_measures(
    name: str,
    network: nn.Module,
    answers: np.ndarray,
    test: Split,
    classes: Sequence[str],
    figures: Path,
    config: Evaluate,
) -> dict[str, float]:
    """Measures of the predictions, including calibration before and after temperature scaling."""
    report = classifier_report(answers, test.labels, config.calibration_bins)
    temperature = float(cast(Temperature, network.temperature).value)
    raw = without_temperature(answers, temperature)
    uncalibrated = classifier_report(raw, test.labels, config.calibration_bins).scalars
    save_confusion(
        report.confusion,
        figures / "confusion.png",
        f"{name.upper()}, test accuracy {report.scalars['accuracy']:.2%}",
        classes,
    )
    save_reliability(
        reliability(answers, test.labels, config.calibration_bins),
        figures / "reliability.png",
        f"{name.upper()}, calibration error {report.scalars['ece']:.4f}, {uncalibrated['ece']:.4f} before scaling",
    )
    predicted = answers.argmax(axis=1)
    rows = [{"actual": classes[a], "predicted": classes[p]} for a, p in zip(test.labels, predicted, strict=True)]
    write_csv(figures / "predictions.csv", rows)
    by_digit = {
        f"{key}.{digit}": float(value)
        for key in ("precision", "recall", "f1")
        for digit, value in enumerate(getattr(report, key))
    }
    return {
        **report.scalars,
        **by_digit,
        "temperature": temperature,
        "ece_uncalibrated": uncalibrated["ece"],
        "nll_uncalibrated": uncalibrated["nll"],
    }


def _attack_measures(network: nn.Module, answers: np.ndarray, test: Split, config: Evaluate) -> dict[str, float]:
    """Accuracy under attack, and when the least confident answers are rejected."""
    attacked = fgsm_accuracy(network, test.images, test.labels, config.fgsm_epsilons)
    selective = selective_accuracy(answers, test.labels)
    return {
        **{f"fgsm.{epsilon:g}": value for epsilon, value in attacked.items()},
        "selective_area": float(selective.mean()),
        "coverage_at_99_9": coverage_at(selective, 0.999),
    }


def _explain_mistakes(
    name: str,
    network: nn.Module,
    answers: np.ndarray,
    test: Split,
    classes: Sequence[str],
    figures: Path,
    config: Evaluate,
) -> None:
    """Plot the most confident mistakes and, for a few of them, what the wrong answer depends on."""
    rows = worst_mistakes(answers, test.labels, config.worst_mistakes)
    captions = [
        f"#{row}: {classes[test.labels[row]]} read as {classes[answers[row].argmax()]}\nat {answers[row].max():.1%}"
        for row in rows
    ]
    title = f"{name.upper()}: the most confident mistakes on the test set"
    save_captioned(test.images[rows], captions, figures / "mistakes.png", title)
    few = rows[: config.explained_mistakes]
    maps = np.array([occlusion(network, test.images[row], int(answers[row].argmax())) for row in few])
    save_occlusions(test.images[few], maps, captions[: len(few)], figures / "occlusion.png")
