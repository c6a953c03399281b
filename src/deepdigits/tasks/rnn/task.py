"""Which digit is it? The RNN."""

from __future__ import annotations

from deepdigits.tasks.classification.task import ExportedClassifier, classifier_task
from deepdigits.tasks.rnn.network import load_rnn

RNN = classifier_task(
    "rnn",
    "a recurrent network that reads the image as a sequence of rows (local contrast, then LSTM or GRU) or of pixels",
    load_rnn,
    ExportedClassifier,
)
