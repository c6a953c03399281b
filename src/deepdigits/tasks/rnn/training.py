"""Training of the RNN."""

from __future__ import annotations

from torch import Tensor
from torch.optim import AdamW

from deepdigits.tasks.classification.config import Fit
from deepdigits.tasks.classification.training import Classifier
from deepdigits.tasks.rnn.config import RnnNet
from deepdigits.tasks.rnn.network import make_rnn


def rnn_to_train(config: RnnNet, fit: Fit, class_weights: Tensor | None = None) -> Classifier:
    """A new RNN, set up for training. For `class_weights`, see `Classifier`.

    Muon brings nothing here, and costs a quarter of the time of a step.
    """
    net = make_rnn(config)
    optimizer = AdamW(net.parameters(), lr=fit.max_learning_rate, weight_decay=fit.weight_decay, fused=True)
    return Classifier(net, optimizer, fit.label_smoothing, class_weights)
