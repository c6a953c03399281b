"""Statistics that several tasks report."""

from __future__ import annotations

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % score interval of a proportion (Wilson, 1927, doi:10.2307/2276774)."""
    interval = binomtest(successes, trials).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)


def auc(negatives: np.ndarray, positives: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The area under the ROC curve for the scores of both, higher for positives; 0.5 if the scores cannot tell.

    Args:
        weights: of the negatives, then of the positives.
    """
    truth = np.repeat([0, 1], [len(negatives), len(positives)])
    return float(roc_auc_score(truth, np.concatenate([negatives, positives]), sample_weight=weights))
