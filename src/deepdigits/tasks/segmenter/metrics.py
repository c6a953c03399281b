"""Compare predicted with true masks."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_dilation, binary_erosion

from deepdigits.data.scenes.scenes import Scenes

SQUARE = np.ones((1, 3, 3), bool)  # a pixel and its eight neighbours in the same image
NEAR_OVERLAP = 2  # pixels


def confusions(semantic: np.ndarray, found: np.ndarray, where: np.ndarray | None = None) -> np.ndarray:
    """Pixel counts by image, true class and predicted class: int64 `(n, 1 + classes, 1 + classes)`.

    Args:
        semantic, found: the true and the predicted classes, integers `(n, height, width)`, 0 for the background.
        where: bool `(n, height, width)`, the pixels to count; all by default.
    """
    classes = 1 + max(int(semantic.max(initial=0)), int(found.max(initial=0)))
    image = np.arange(len(semantic))[:, None, None]
    cell = (image * classes + semantic.astype(np.int64)) * classes + found
    counted = cell.ravel() if where is None else cell[where]
    return np.bincount(counted, minlength=len(semantic) * classes**2).reshape(-1, classes, classes)


def iou_by_class(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, `(..., k)` for confusions `(..., k, k)`.

    It is NaN for a class that is neither present nor predicted.
    """
    shared = np.diagonal(confusion, axis1=-2, axis2=-1)
    union = confusion.sum(axis=-1) + confusion.sum(axis=-2) - shared
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(union > 0, shared / np.maximum(union, 1), np.nan))


def mean_iou(confusion: np.ndarray) -> float:
    """The mean IoU over the digits, excluding the background, computed over all images together.

    See Everingham et al., 2010, doi:10.1007/s11263-009-0275-4.
    """
    return float(np.nanmean(iou_by_class(confusion)[1:]))


def boundary_f1(semantic: np.ndarray, found: np.ndarray, tolerance: int = 1) -> np.ndarray:
    """The F-score of each digit's outline, `(classes,)`, based on Csurka et al., 2013, doi:10.5244/C.27.32.

    A point on one outline counts if the other outline has a point within `tolerance` pixels, including diagonally.
    """
    classes = max(int(semantic.max(initial=0)), int(found.max(initial=0)))
    scores = np.zeros(classes)
    for digit in range(1, 1 + classes):
        rows = np.flatnonzero(((semantic == digit) | (found == digit)).any(axis=(1, 2)))
        there, seen = _outline(semantic[rows] == digit), _outline(found[rows] == digit)
        precision = (seen & binary_dilation(there, SQUARE, tolerance)).sum() / max(1, seen.sum())
        recall = (there & binary_dilation(seen, SQUARE, tolerance)).sum() / max(1, there.sum())
        scores[digit - 1] = 2 * precision * recall / max(1e-9, precision + recall)
    return scores


def overlaps(instances: np.ndarray) -> np.ndarray:
    """Where two or more digits have ink, plus `NEAR_OVERLAP` pixels around it: bool, same shape as `instances`."""
    shared = (instances & (instances - 1)) != 0  # more than one bit
    return np.asarray(binary_dilation(shared & (instances > 0), SQUARE, NEAR_OVERLAP))


def segmentation_measures(scenes: Scenes, found: np.ndarray) -> dict[str, float]:
    """The metrics of a segmenter, as a flat dict.

    They are `miou` over the digits and `iou.D` by digit, `iou_background`, `pixel_accuracy`, `boundary_f1` and
    `boundary_f1.D` by digit, and `miou_overlap` and `pixel_accuracy_overlap` where digits overlap.

    Args:
        scenes: the ground truth.
        found: the predicted classes, integers `(n, height, width)`, 0 for the background.
    """
    whole = confusions(scenes.semantic, found).sum(axis=0)
    crowded = confusions(scenes.semantic, found, overlaps(scenes.instances)).sum(axis=0)
    by_class, outlines = iou_by_class(whole), boundary_f1(scenes.semantic, found)
    return {
        "miou": mean_iou(whole),
        "iou_background": float(by_class[0]),
        "pixel_accuracy": float(np.trace(whole) / whole.sum()),
        "boundary_f1": float(outlines.mean()),
        "miou_overlap": mean_iou(crowded),
        "pixel_accuracy_overlap": float(np.trace(crowded) / max(1, crowded.sum())),
        **{f"iou.{digit}": float(value) for digit, value in enumerate(np.nan_to_num(by_class[1:]))},
        **{f"boundary_f1.{digit}": float(value) for digit, value in enumerate(outlines)},
    }


def _outline(masks: np.ndarray) -> np.ndarray:
    return np.asarray(masks & ~binary_erosion(masks, SQUARE))
