"""The figures of generated images that floors and promotion are held against."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from deepdigits.data.digits.splits import Split
from deepdigits.tasks.classification.metrics import wilson_interval
from deepdigits.tasks.gan.metrics import diversity, frechet_distance, manifold_metrics, nearest_distances


def feature_measures(real: np.ndarray, other: np.ndarray, fake: np.ndarray, neighbours: int) -> dict[str, float]:
    """Distances in the features `(n, d)` of a CNN; `other` are real images too, and give the floor."""
    fid, floor = frechet_distance(real, fake), frechet_distance(real, other)
    manifold = asdict(manifold_metrics(real, fake, neighbours))
    return {"gan.fid": fid, "gan.fid_floor": floor, "gan.fid_ratio": fid / floor} | {
        f"gan.{key}": value for key, value in manifold.items()
    }


def pixel_measures(real: Split, fake: Split, train: np.ndarray) -> dict[str, float]:
    """Variety inside each class, and whether samples are closer to training images than real test images are."""
    varied = diversity(fake.images, real.labels) / diversity(real.images, real.labels)
    nearest_fake, nearest_real = (nearest_distances(split.images, train) for split in (fake, real))
    return {
        "gan.diversity": float(varied.mean()),
        "gan.diversity_min": float(varied.min()),
        "gan.novelty": float(np.median(nearest_fake) / np.median(nearest_real)),
        "gan.novelty_lowest_percent": float(np.quantile(nearest_fake, 0.01) / np.quantile(nearest_real, 0.01)),
    }


def agreement_measures(read: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    """How often a classifier reads the digit `(n,)` that was asked for."""
    right = read == wanted
    low, high = wilson_interval(int(right.sum()), len(right))
    return {
        "gan.class_accuracy": float(right.mean()),
        "gan.class_accuracy_low": low,
        "gan.class_accuracy_high": high,
        "gan.class_accuracy_min": min(float(right[wanted == digit].mean()) for digit in range(10)),
    }


def synthetic_measures(read: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The classification accuracy score: how classifiers of generated images read `(n,)` real ones."""
    right = int((read == labels).sum())
    low, high = wilson_interval(right, len(labels))
    return {
        "gan.synthetic_accuracy": right / len(labels),
        "gan.synthetic_accuracy_low": low,
        "gan.synthetic_accuracy_high": high,
    }
