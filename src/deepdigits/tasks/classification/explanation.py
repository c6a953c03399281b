"""Show what a classifier's answer depends on."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from deepdigits.nn.prediction import to_unit

PATCH = 5  # pixels


@torch.inference_mode()
def occlusion(network: nn.Module, image: np.ndarray, digit: int) -> np.ndarray:
    """Compute how much the probability of `digit` drops when the 5x5 pixels around each pixel are blanked.

    See Zeiler and Fergus, 2014, arXiv:1311.2901. `image` is uint8 `(28, 28)`; the result is float32 `(28, 28)`,
    negative where the probability rises.
    """
    row, column = torch.arange(28)[:, None], torch.arange(28)[None, :]
    centres = torch.cartesian_prod(torch.arange(28), torch.arange(28))
    covered = ((row - centres[:, 0, None, None]).abs() <= PATCH // 2) & (
        (column - centres[:, 1, None, None]).abs() <= PATCH // 2
    )
    whole = to_unit(torch.from_numpy(image)[None])
    blanked = whole * ~covered[:, None]
    before = network(whole).softmax(dim=1)[0, digit]
    return np.asarray((before - network(blanked).softmax(dim=1)[:, digit]).view(28, 28).numpy())


@torch.inference_mode()
def probabilities_by_step(network: nn.Module, image: np.ndarray, columns: bool) -> np.ndarray:
    """Class probabilities float32 `(28, k)` given only the first 1 to 28 rows, or columns, with the rest blank."""
    known = torch.tril(torch.ones(28, 28, dtype=torch.bool))[:, None]
    known = known[:, :, None, :] if columns else known[:, :, :, None]
    return np.asarray(network(to_unit(torch.from_numpy(image)[None]) * known).softmax(dim=1).numpy())
