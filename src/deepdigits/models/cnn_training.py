"""How the CNN is trained."""

from __future__ import annotations

from functools import partial

from torch.optim import SGD

from deepdigits.config.classifiers import CnnNet, Fit
from deepdigits.models.classifier_training import Classifier
from deepdigits.models.cnn import Cnn


def cnn_to_train(net: CnnNet, fit: Fit) -> Classifier:
    """Ready to train with Nesterov SGD."""
    make = partial(
        SGD, lr=fit.max_learning_rate, momentum=0.9, nesterov=True, weight_decay=fit.weight_decay, fused=True
    )
    return Classifier(Cnn(net), make, fit.max_learning_rate, fit.label_smoothing)
