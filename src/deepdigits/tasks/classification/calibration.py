"""Temperature scaling: calibrate a trained classifier with a single number."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from torch import nn

from deepdigits.nn.prediction import predict_batches


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Find the temperature, between 0.05 and 20, that minimises the negative log-likelihood of held-out images.

    See Guo et al., 2017, arXiv:1706.04599.

    Args:
        logits: float `(n, classes)`.
        labels: int `(n,)`.
    """

    def loss(log_temperature: float) -> float:
        return scaled_loss(logits, labels, math.exp(log_temperature))

    found = minimize_scalar(loss, bounds=(math.log(0.05), math.log(20)), method="bounded", options={"xatol": 1e-6})
    return math.exp(found.x)


def scaled_loss(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    """Mean negative log-likelihood, in nats, of logits `(n, classes)` divided by `temperature`."""
    log_probabilities = log_softmax(logits.astype(np.float64) / temperature, axis=1)
    return float(-log_probabilities[np.arange(len(labels)), labels].mean())


def logits_of(network: nn.Module, images: np.ndarray) -> np.ndarray:
    """Compute logits float32 `(n, 10)` for uint8 images `(n, 28, 28)`. Puts the network in evaluation mode."""
    return predict_batches(network, network, images)
