"""Batch inference with a classifier."""

from __future__ import annotations

import numpy as np
from torch import nn

from deepdigits.nn.prediction import predict_batches


def probabilities(network: nn.Module, images: np.ndarray) -> np.ndarray:
    """Class probabilities float32 `(n, 10)` for uint8 images `(n, 28, 28)`."""
    return predict_batches(network, lambda part: network(part).softmax(dim=1), images)
