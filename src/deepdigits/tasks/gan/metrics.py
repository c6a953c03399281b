"""How good, how varied and how faithful generated images are. All functions take and return numpy arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.neighbors import NearestNeighbors


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """The Frechet distance of two gaussians fitted to features `(n, d)` (Heusel et al., 2017, arXiv:1706.08500).

    It depends on the feature space and, at few samples, on n: compare only equal feature networks and sizes.
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
    """Precision and recall (Kynkaanniemi et al., 2019, arXiv:1904.06991), density and coverage
    (Naeem et al., 2020, arXiv:2002.09797); precision, recall and coverage are in 0 to 1, density may exceed 1."""

    precision: float
    recall: float
    density: float
    coverage: float


def manifold_metrics(real: np.ndarray, fake: np.ndarray, neighbours: int) -> Manifold:
    """Compare features `(n, d)` of real and generated images by balls reaching to the k-th neighbour."""
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
    """Mean distance between two different images of one class, per class.

    Args:
        images: `(n, 28, 28)`, any scale.
        labels: int `(n,)`, 0 to 9, at least two of each.

    Returns:
        float64 `(10,)`; 0 where all images of a class are the same, which is a collapsed generator.
    """
    means = []
    for digit in range(10):
        flat = images[labels == digit].reshape(-1, 784).astype(np.float64)
        means.append(_distances(flat, flat).sum() / (len(flat) * (len(flat) - 1)))
    return np.array(means)


def fool_rate(real_scores: np.ndarray, fake_scores: np.ndarray) -> float:
    """The share of generated samples that score above the median of held-out real images; 0.5 is ideal."""
    return float((fake_scores > np.median(real_scores)).mean())


def first_of_each_class(images: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """The first `count` images of each digit, class by class."""
    return np.concatenate([images[labels == digit][:count] for digit in range(10)])


def _kth_distance(points: np.ndarray, k: int) -> np.ndarray:
    # The nearest neighbour of a point is itself, hence one more.
    distances, _ = NearestNeighbors(n_neighbors=k + 1).fit(points).kneighbors(points)
    return np.asarray(distances[:, -1])


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Euclidean, of each of `first` `(n, d)` to each of `second` `(m, d)`, in their own precision."""
    squared = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2 * first @ second.T
    return np.asarray(np.sqrt(squared.clip(0)))


def nearest_distances(images: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The distance of each image to its nearest in `reference`, float32 `(n,)`, in pixels of 0 to 1.

    Args:
        images, reference: uint8 `(n, 28, 28)` and `(m, 28, 28)`.
    """
    points, others = (array.reshape(len(array), 784).astype(np.float32) / 255 for array in (images, reference))
    parts = np.array_split(points, max(1, len(points) // 500))
    return np.concatenate([_distances(part, others).min(axis=1) for part in parts])
