"""Batched prediction for many images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn


def to_unit(images: Tensor) -> Tensor:
    """Convert uint8 `(n, height, width)` to float32 `(n, 1, height, width)` in 0 to 1."""
    return images.unsqueeze(1).float() / 255


@torch.inference_mode()
def predict_batches(
    network: nn.Module, answer: Callable[..., Tensor], images: np.ndarray, *others: np.ndarray, at_once: int = 1000
) -> np.ndarray:
    """Apply `answer` batch by batch, with the network in evaluation mode, and concatenate the results.

    `answer` receives images as float32 `(n, 1, height, width)` in 0 to 1, and the matching rows of `others`.

    Args:
        answer: a part of `network`, or a function built on it; its first dimension is the batch.
        images: uint8 `(n, height, width)`.
    """
    network.eval()
    device = device_of(network)
    parts = zip(*(torch.from_numpy(array).split(at_once) for array in (images, *others)), strict=True)
    answers = [answer(to_unit(part.to(device)), *(other.to(device) for other in rest)) for part, *rest in parts]
    return np.asarray(torch.cat(answers).cpu().numpy())


def device_of(network: nn.Module) -> torch.device:
    """The device that holds a network's weights."""
    return next(network.parameters()).device
