"""How well fakes are told from real digits. All functions take and return numpy arrays."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve

FALSE_ALARMS = 0.01  # share of real digits


def fakes_measures(probabilities: np.ndarray) -> dict[str, float]:
    """`auc`, area under the ROC curve, of all fakes, and of those from noise and by swap alone; `found_at_1_percent`:
    share of the fakes found where one real digit of a hundred is called a fake; `accuracy` at a probability of 0.5.

    Args:
        probabilities: of being a fake, `(2 n,)`, for images in the order of `make_fakes.real_and_fake`.
    """
    real, fake = np.split(probabilities, 2)
    alarms, found = roc(real, fake)
    return {
        "auc": auc(real, fake),
        "auc_generated": auc(real, fake[0::2]),
        "auc_swapped": auc(real, fake[1::2]),
        "found_at_1_percent": float(np.interp(FALSE_ALARMS, alarms, found)),
        "accuracy": float(((real < 0.5).mean() + (fake >= 0.5).mean()) / 2),
    }


def auc(real: np.ndarray, fake: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Area under the ROC curve of two sets of scores, which are higher for fakes; `weights` as of `roc_auc_score`."""
    truth = np.repeat([0, 1], [len(real), len(fake)])
    return float(roc_auc_score(truth, np.concatenate([real, fake]), sample_weight=weights))


def roc(real: np.ndarray, fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of real digits called fakes, and share of fakes found, at every threshold."""
    truth = np.repeat([0, 1], [len(real), len(fake)])
    alarms, found, _ = roc_curve(truth, np.concatenate([real, fake]))
    return alarms, found
