"""Training of the CNN."""

from __future__ import annotations

from deepdigits.tasks.classification.config import Fit
from deepdigits.tasks.classification.training import Classifier
from deepdigits.tasks.cnn.config import CnnNet
from deepdigits.tasks.cnn.network import Cnn
from deepdigits.training.muon import Muon


def cnn_to_train(config: CnnNet, fit: Fit) -> Classifier:
    """A new CNN, set up for training."""
    net = Cnn(config)
    return Classifier(net, Muon(net.parameters(), fit.max_learning_rate, fit.weight_decay), fit.label_smoothing)
