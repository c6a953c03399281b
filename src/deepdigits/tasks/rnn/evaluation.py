"""Evaluation of the RNN."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from deepdigits.core import paths
from deepdigits.data.digits.splits import first_of_each_class, load_split
from deepdigits.plotting.plots import save_by_row
from deepdigits.tasks.classification.evaluation import evaluate_classifier, summary
from deepdigits.tasks.classification.explanation import probabilities_by_row
from deepdigits.tasks.config import Evaluate
from deepdigits.tasks.evaluation import IMAGES, Evaluation
from deepdigits.tasks.rnn.network import load_rnn

SHOWN = (2, 4, 7, 9)  # digits


def evaluate(network: nn.Module, figures: Path, config: Evaluate) -> dict[str, float]:
    """Compute the measures of a classifier, and plot how its prediction evolves row by row."""
    test = load_split(paths.split_file("test"))
    digits = first_of_each_class(test.images, test.labels, 1)
    shown = [digits[digit] for digit in SHOWN]
    save_by_row(shown, [probabilities_by_row(network, image) for image in shown], figures / "by_row.png")
    return evaluate_classifier("rnn", network, figures, config)


EVALUATION = Evaluation("rnn", IMAGES, load_rnn, evaluate, summary)
