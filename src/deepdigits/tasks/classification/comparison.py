"""Compare two classifiers on the same test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from deepdigits.data.digits.splits import Split, first_of_each_class
from deepdigits.plotting.figures import save_captioned, save_image_grid
from deepdigits.plotting.plots import save_curves, save_robustness
from deepdigits.tasks.classification.corruptions import CORRUPTIONS, corrupt
from deepdigits.tasks.classification.metrics import contradicted, mcnemar
from deepdigits.tasks.classification.robustness import selective_accuracy

Answers = Mapping[str, np.ndarray]  # classifier -> class probabilities (n, k)
FGSM = "fgsm."
Measures = Mapping[str, Mapping[str, float]]  # classifier -> measures from its evaluation


def compare(cnn: np.ndarray, rnn: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Count how often only one of them is right, and apply the exact McNemar test. Takes probabilities `(n, k)`."""
    cnn_right, rnn_right = (answers.argmax(axis=1) == labels for answers in (cnn, rnn))
    comparison = mcnemar(cnn_right, rnn_right)
    return {
        "only_cnn_right": comparison.only_first_right,
        "only_rnn_right": comparison.only_second_right,
        "both_wrong": int((~cnn_right & ~rnn_right).sum()),
        "p_value": comparison.p_value,
    }


def save_contradicted(answers: Answers, test: Split, classes: Sequence[str], confidence: float, figures: Path) -> None:
    """Save test images for a person to review: both classifiers are confident that the label is wrong."""
    rows = contradicted(list(answers.values()), test.labels, confidence)
    captions = [
        f"#{row}: {classes[test.labels[row]]}, read as\n"
        + ", ".join(f"{classes[a[row].argmax()]} ({a[row].max():.0%})" for a in answers.values())
        for row in rows
    ]
    title = f"Labels that CNN and RNN both contradict at {confidence:.0%} or more"
    save_captioned(test.images[rows], captions, figures / "contradicted.png", title)


def save_corruptions(test: Split, seed: int, figures: Path) -> None:
    """Save a grid of each class under each corruption, one row per corruption."""
    few = first_of_each_class(test.images, test.labels, 1)
    sheet = np.concatenate([corrupt(few, corruption, seed) for corruption in sorted(CORRUPTIONS)])
    save_image_grid(sheet, figures / "corruptions.png", columns=len(few))


def save_robustness_of_all(measures: Measures, figures: Path) -> None:
    """Plot the accuracy under each corruption, and under an attack of increasing strength."""
    corrupted = {name: {key: found[f"corrupted.{key}"] for key in CORRUPTIONS} for name, found in measures.items()}
    save_robustness(corrupted, figures / "corrupted.png")
    curves = {}
    for name, found in measures.items():
        attacked = sorted(
            (float(key.removeprefix(FGSM)), value) for key, value in found.items() if key.startswith(FGSM)
        )
        curves[name.upper()] = [epsilon for epsilon, _ in attacked], [accuracy for _, accuracy in attacked]
    save_curves(
        curves,
        figures / "fgsm.png",
        "Under attack by one gradient step",
        "epsilon (pixel values in [0, 1])",
        "accuracy",
    )


def save_selective(answers: Answers, test: Split, figures: Path) -> None:
    """Plot the accuracy when the least confident answers are rejected."""
    shares = np.arange(1, len(test) + 1) / len(test)
    shown = shares >= 0.5
    curves = {
        name.upper(): (shares[shown].tolist(), selective_accuracy(found, test.labels)[shown].tolist())
        for name, found in answers.items()
    }
    save_curves(
        curves,
        figures / "selective.png",
        "Refusing the least confident",
        "share of images answered",
        "accuracy on these",
    )
