"""Training of the CNN."""

from __future__ import annotations

from torch import Tensor

from deepdigits.tasks.classification.config import Fit
from deepdigits.tasks.classification.training import Classifier
from deepdigits.tasks.cnn.config import CnnNet
from deepdigits.tasks.cnn.network import Cnn
from deepdigits.training.muon import Muon


def cnn_to_train(config: CnnNet, fit: Fit, class_weights: Tensor | None = None) -> Classifier:
    """A new CNN, set up for training. For `class_weights`, see `Classifier`."""
    net = Cnn(config)
    optimizer = Muon(net.parameters(), fit.max_learning_rate, fit.weight_decay)
    return Classifier(net, optimizer, fit.label_smoothing, class_weights)
