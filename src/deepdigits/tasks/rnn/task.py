"""Which digit is it? The RNN."""

from __future__ import annotations

from deepdigits.tasks.classification.task import ExportedClassifier, classifier_task
from deepdigits.tasks.rnn.evaluation import EVALUATION

TASK = classifier_task(
    EVALUATION,
    ExportedClassifier,
    "Classification: the recurrent network",
    {"by_row.png": "What it believes after each row: what has been read is remembered."},
)
