"""Metrics of how well fakes are distinguished from real digits. All functions take and return numpy arrays."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_curve

from deepdigits.core.statistics import auc

FALSE_ALARMS = 0.01  # share of real digits


def fakes_measures(probabilities: np.ndarray) -> dict[str, float]:
    """The metrics of the fake detector, as a flat dict.

    `auc` is the area under the ROC curve for all fakes; `auc_generated` and `auc_swapped` are for either kind alone.
    `found_at_1_percent` is the share of fakes found when 1 % of the real digits are classified as fake. `accuracy` is
    at a probability threshold of 0.5.

    Args:
        probabilities: the probability of being a fake, `(2 n,)`, in the image order of `make_fakes.real_and_fake`.
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


def roc(real: np.ndarray, fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The share of real digits classified as fake, and the share of fakes found, at every threshold."""
    truth = np.repeat([0, 1], [len(real), len(fake)])
    alarms, found, _ = roc_curve(truth, np.concatenate([real, fake]))
    return alarms, found
