"""Robustness of a classifier: corrupted images, adversarial attacks and rejection of uncertain answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from deepdigits.nn.prediction import to_unit
from deepdigits.tasks.classification.corruptions import CORRUPTIONS, corrupt

BATCH = 1000
Predict = Callable[[np.ndarray], np.ndarray]  # images uint8 (n, 28, 28) -> class probabilities (n, 10)


def corrupted_accuracy(predict: Predict, images: np.ndarray, labels: np.ndarray, seed: int) -> dict[str, float]:
    """The accuracy of a classifier under each of `CORRUPTIONS`."""
    return {
        corruption: float((predict(corrupt(images, corruption, seed)).argmax(axis=1) == labels).mean())
        for corruption in CORRUPTIONS
    }


def fgsm_accuracy(
    network: nn.Module, images: np.ndarray, labels: np.ndarray, epsilons: Sequence[float]
) -> dict[float, float]:
    """Accuracy under the fast gradient sign method (Goodfellow et al., 2015, arXiv:1412.6572).

    The attack moves every pixel, in [0, 1], by one step of size epsilon up the gradient of the loss.
    """
    right = dict.fromkeys(epsilons, 0)
    for rows in np.split(np.arange(len(labels)), range(BATCH, len(labels), BATCH)):
        clean, wanted = to_unit(torch.from_numpy(images[rows])).requires_grad_(), torch.from_numpy(labels[rows])
        (slope,) = torch.autograd.grad(F.cross_entropy(network(clean), wanted, reduction="sum"), clean)
        with torch.inference_mode():
            for epsilon in epsilons:
                attacked = (clean + epsilon * slope.sign()).clamp(0, 1)
                right[epsilon] += int((network(attacked).argmax(dim=1) == wanted).sum())
    return {epsilon: count / len(labels) for epsilon, count in right.items()}


def selective_accuracy(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Accuracy on the k most confident images, for k = 1 to n, float64 `(n,)`.

    It shows which errors remain when the least confident answers are rejected (Geifman and El-Yaniv, 2017,
    arXiv:1705.08500). Its mean is the area under the curve.
    """
    surest = np.argsort(-probabilities.max(axis=1), kind="stable")
    right = (probabilities.argmax(axis=1) == labels)[surest]
    return np.asarray(right.cumsum() / np.arange(1, len(labels) + 1))


def coverage_at(selective: np.ndarray, accuracy: float) -> float:
    """The largest share of images that can be answered with at least `accuracy`; 0 if there is none."""
    enough = np.flatnonzero(selective >= accuracy)
    return float((enough[-1] + 1) / len(selective)) if len(enough) else 0.0
