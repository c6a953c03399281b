"""Does a swap show the requested digit in its source's handwriting? All functions take and return numpy arrays."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deepdigits.core.statistics import wilson_interval
from deepdigits.tasks.swap.handwriting import slants, thicknesses

HIDDEN = (128, 128)  # layer widths of the nonlinear probe


def styles(images: np.ndarray) -> np.ndarray:
    """Slant in radians and thickness in pixels, float64 `(n, 2)`, of images uint8 `(n, 28, 28)`."""
    return np.stack([slants(images), thicknesses(images)], axis=1)


def style_correlations(sources: np.ndarray, swaps: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Pearson's correlation of each measure from `styles`, `(2,)`, with each pair weighted by `weights` `(n,)`.

    It is 0 where a measure does not vary.
    """
    counts = np.ones(len(sources)) if weights is None else weights
    first, second = (values - np.average(values, axis=0, weights=counts) for values in (sources, swaps))
    both, one, other = (counts @ product for product in (first * second, first**2, second**2))
    spread = np.sqrt(one * other)
    return np.asarray(np.divide(both, spread, out=np.zeros_like(both), where=spread > 0))


def swap_measures(sources: np.ndarray, swaps: np.ndarray, read: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    """The metrics of the swap, as a flat dict.

    `identity` is the share of swaps that are read as the requested digit, with its 95 % Wilson interval and its minimum
    over digits. `slant_correlation` and `thickness_correlation` are between source and swap.

    Args:
        sources, swaps: their `styles`.
        read, wanted: the digits that a classifier reads in the swaps, and the requested ones, `(n,)` each.
    """
    right = read == wanted
    low, high = wilson_interval(int(right.sum()), len(right))
    slant, thickness = style_correlations(sources, swaps)
    return {
        "identity": float(right.mean()),
        "identity_low": low,
        "identity_high": high,
        "identity_min": min(float(right[wanted == digit].mean()) for digit in np.unique(wanted)),
        "slant_correlation": float(slant),
        "thickness_correlation": float(thickness),
    }


def cycle_error(images: np.ndarray, back: np.ndarray) -> float:
    """Mean absolute pixel difference between sources and their swaps swapped back, both uint8 `(n, 28, 28)`.

    The result is on the 0 to 1 scale.
    """
    return float(np.abs(images.astype(np.float64) - back).mean() / 255)


def probe_measures(
    known: np.ndarray, labels: np.ndarray, codes: np.ndarray, truth: np.ndarray, seed: int
) -> dict[str, float]:
    """The accuracy with which two probes predict the digit from its style code; chance is 0.1.

    `probe_linear` is a logistic regression, `probe` a network with two hidden layers.

    Args:
        known, labels: the style codes float32 `(n, d)` that the probes are trained on, and their digits.
        codes, truth: the style codes and digits that the probes are tested on.
    """
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    network = make_pipeline(
        StandardScaler(), MLPClassifier(HIDDEN, max_iter=25, early_stopping=True, random_state=seed)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # expected if the codes do not reveal the digit
        return {
            name: float(probe.fit(known, labels).score(codes, truth))
            for name, probe in (("probe_linear", linear), ("probe", network))
        }
