"""Training of the RNN."""

from __future__ import annotations

from functools import partial

from torch.optim import AdamW

from deepdigits.tasks.classification.config import Fit
from deepdigits.tasks.classification.training import Classifier
from deepdigits.tasks.rnn.config import RnnNet
from deepdigits.tasks.rnn.network import make_rnn


def rnn_to_train(net: RnnNet, fit: Fit) -> Classifier:
    """A new RNN, set up for training with AdamW."""
    make = partial(AdamW, lr=fit.max_learning_rate, weight_decay=fit.weight_decay, fused=True)
    return Classifier(make_rnn(net), make, fit.max_learning_rate, fit.label_smoothing)
