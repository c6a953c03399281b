"""Evaluation of the RNN."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from deepdigits.core import paths
from deepdigits.core.files import read_json
from deepdigits.data.digits.splits import first_of_each_class, load_split
from deepdigits.plotting.plots import save_by_step
from deepdigits.tasks.classification.evaluation import evaluate_classifier, summary
from deepdigits.tasks.classification.explanation import probabilities_by_step
from deepdigits.tasks.config import Evaluate
from deepdigits.tasks.evaluation import IMAGES, Evaluation
from deepdigits.tasks.rnn.network import load_rnn

SHOWN = (2, 4, 7, 9)  # classes, if there are so many


def evaluate(network: nn.Module, figures: Path, config: Evaluate) -> dict[str, float]:
    """Compute the measures of a classifier, and plot how its prediction evolves step by step."""
    test = load_split(paths.split_file("test"))
    images = first_of_each_class(test.images, test.labels, 1)
    shown = images[[label for label in SHOWN if label < len(images)] or [0]]
    columns = bool(network.by_column)
    answers = [probabilities_by_step(network, image, columns) for image in shown]
    save_by_step(list(shown), answers, read_json(paths.MANIFEST)["classes"], columns, figures / "by_step.png")
    return evaluate_classifier("rnn", network, figures, config)


EVALUATION = Evaluation("rnn", IMAGES, load_rnn, evaluate, summary)
