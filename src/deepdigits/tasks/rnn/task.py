"""The classification task of the RNN."""

from __future__ import annotations

from deepdigits.tasks.classification.task import ExportedClassifier, classifier_task
from deepdigits.tasks.rnn.evaluation import EVALUATION

TASK = classifier_task(
    EVALUATION,
    ExportedClassifier,
    "Classification: the recurrent network",
    {"by_step.png": "Its prediction after each row, or column: it remembers what it has read."},
)
