"""Metrics of generated images: quality, diversity, and agreement with the requested digit."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from sklearn.neighbors import NearestNeighbors

from deepdigits.core.statistics import wilson_interval
from deepdigits.data.digits.splits import Split


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """The Frechet distance between Gaussians fitted to two sets of features `(n, d)`.

    See Heusel et al., 2017, arXiv:1706.08500. The distance depends on the feature space and, for few samples, on n:
    only compare values from the same feature network and sample size.
    """
    mean = first.mean(axis=0, dtype=np.float64) - second.mean(axis=0, dtype=np.float64)
    cov_first = np.cov(first.astype(np.float64), rowvar=False)
    cov_second = np.cov(second.astype(np.float64), rowvar=False)
    # tr(sqrt(AB)) = sum of sqrt of the eigenvalues of A^(1/2) B A^(1/2), which is symmetric.
    values, vectors = np.linalg.eigh(cov_first)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ cov_second @ root).clip(0)).sum()
    return float(mean @ mean + np.trace(cov_first) + np.trace(cov_second) - 2 * cross)


@dataclass(frozen=True)
class Manifold:
    """Precision and recall (Kynkaanniemi et al., 2019, arXiv:1904.06991), density and coverage (Naeem et al., 2020).

    The latter two are defined in arXiv:2002.09797. Precision, recall and coverage are in [0, 1]; density may exceed 1.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def manifold_metrics(real: np.ndarray, fake: np.ndarray, neighbours: int) -> Manifold:
    """Compare features `(n, d)` of real and generated images, using balls that reach to the k-th nearest neighbour."""
    real, fake = real.astype(np.float64), fake.astype(np.float64)
    radius_real = _kth_distance(real, neighbours)
    radius_fake = _kth_distance(fake, neighbours)
    inside = precise = 0
    nearest_fake = np.full(len(real), np.inf)
    recalled = np.zeros(len(real), dtype=bool)
    for start in range(0, len(fake), 500):
        part = slice(start, start + 500)
        distance = _distances(fake[part], real)
        in_ball = distance < radius_real
        inside += int(in_ball.sum())
        precise += int(in_ball.any(axis=1).sum())
        nearest_fake = np.minimum(nearest_fake, distance.min(axis=0))
        recalled |= (distance < radius_fake[part, None]).any(axis=0)
    return Manifold(
        precision=precise / len(fake),
        recall=float(recalled.mean()),
        density=inside / (neighbours * len(fake)),
        coverage=float((nearest_fake < radius_real).mean()),
    )


def diversity(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The mean distance between two different images of the same class, per class.

    Args:
        images: `(n, 28, 28)`, any scale.
        labels: int `(n,)`, at least two of each class.

    Returns:
        float64 `(classes,)`; 0 where all images of a class are identical, i.e. the generator has collapsed.
    """
    means = []
    for digit in np.unique(labels):
        flat = images[labels == digit].reshape(-1, 784).astype(np.float64)
        means.append(_distances(flat, flat).sum() / (len(flat) * (len(flat) - 1)))
    return np.array(means)


def fool_rate(real: np.ndarray, fake: np.ndarray) -> float:
    """The share of generated samples' scores above the median score of real images; 0.5 is ideal."""
    return float((fake > np.median(real)).mean())


def feature_measures(real: np.ndarray, other: np.ndarray, fake: np.ndarray, neighbours: int) -> dict[str, float]:
    """Distances between CNN features `(n, d)`. `other` is a second set of real images, which gives the floor."""
    fid, floor = frechet_distance(real, fake), frechet_distance(real, other)
    manifold = asdict(manifold_metrics(real, fake, neighbours))
    return {"fid": fid, "fid_floor": floor, "fid_ratio": fid / floor, **manifold}


def pixel_measures(real: Split, fake: Split, train: np.ndarray) -> dict[str, float]:
    """Diversity within each class, and how close samples are to training images, compared with real test images."""
    varied = diversity(fake.images, real.labels) / diversity(real.images, real.labels)
    nearest_fake, nearest_real = (nearest_distances(split.images, train) for split in (fake, real))
    return {
        "diversity": float(varied.mean()),
        "diversity_min": float(varied.min()),
        "novelty": float(np.median(nearest_fake) / np.median(nearest_real)),
        "novelty_lowest_percent": float(np.quantile(nearest_fake, 0.01) / np.quantile(nearest_real, 0.01)),
    }


def agreement_measures(read: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    """How often the digits a classifier predicts, `(n,)`, are the requested ones."""
    right = read == wanted
    low, high = wilson_interval(int(right.sum()), len(right))
    return {
        "class_accuracy": float(right.mean()),
        "class_accuracy_low": low,
        "class_accuracy_high": high,
        "class_accuracy_min": min(float(right[wanted == digit].mean()) for digit in np.unique(wanted)),
    }


def synthetic_measures(read: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The classification accuracy score: how well classifiers trained on generated images predict real ones, `(n,)`."""
    right = int((read == labels).sum())
    low, high = wilson_interval(right, len(labels))
    return {
        "synthetic_accuracy": right / len(labels),
        "synthetic_accuracy_low": low,
        "synthetic_accuracy_high": high,
    }


def covered(real: np.ndarray, fake: np.ndarray, neighbours: int) -> np.ndarray:
    """Which real images, `(n,)`, have a sample closer than their k-th nearest real neighbour.

    The mean is the coverage (Naeem et al., 2020, arXiv:2002.09797).
    """
    real, fake = real.astype(np.float64), fake.astype(np.float64)
    nearest = NearestNeighbors(n_neighbors=1).fit(fake).kneighbors(real)[0][:, 0]
    return np.asarray(nearest < _kth_distance(real, neighbours))


def _kth_distance(points: np.ndarray, k: int) -> np.ndarray:
    # One more than k, because every point is its own nearest neighbour.
    distances, _ = NearestNeighbors(n_neighbors=k + 1).fit(points).kneighbors(points)
    return np.asarray(distances[:, -1])


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Euclidean distances from each of `first` `(n, d)` to each of `second` `(m, d)`, in the inputs' precision."""
    squared = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2 * first @ second.T
    return np.asarray(np.sqrt(squared.clip(0)))


def nearest_distances(images: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The distance of each image to the nearest one in `reference`, float32 `(n,)`, with pixel values in [0, 1].

    Args:
        images, reference: uint8 `(n, 28, 28)` and `(m, 28, 28)`.
    """
    points, others = (array.reshape(len(array), 784).astype(np.float32) / 255 for array in (images, reference))
    parts = np.array_split(points, max(1, len(points) // 500))
    return np.concatenate([_distances(part, others).min(axis=1) for part in parts])
