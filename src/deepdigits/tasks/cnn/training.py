"""Training of the CNN."""

from __future__ import annotations

from functools import partial

from torch.optim import SGD

from deepdigits.tasks.classification.config import Fit
from deepdigits.tasks.classification.training import Classifier
from deepdigits.tasks.cnn.config import CnnNet
from deepdigits.tasks.cnn.network import Cnn


def cnn_to_train(net: CnnNet, fit: Fit) -> Classifier:
    """A new CNN, set up for training with Nesterov SGD."""
    make = partial(
        SGD, lr=fit.max_learning_rate, momentum=0.9, nesterov=True, weight_decay=fit.weight_decay, fused=True
    )
    return Classifier(Cnn(net), make, fit.max_learning_rate, fit.label_smoothing)
