"""Compare predicted with true boxes: COCO's average precision, and some metrics that are easier to interpret."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from deepdigits.data.scenes.scenes import Scenes

THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
RECALLS = np.linspace(0, 1, 101)
# Size of a digit's box in pixels, as the square root of its area; COCO's own limits are meant for photographs.
SIZES = {"small": (0.0, 16.0), "medium": (16.0, 24.0), "large": (24.0, 1e5)}
EMPTY = 1e-6  # slots without a box have a score below this


@dataclass(frozen=True)
class Detections:
    """The output of a detector.

    Attributes:
        boxes: float `(n, k, 4)`, x, y, width, height in pixels.
        scores: float `(n, k)` in [0, 1], 0 where there is no box.
        labels: int `(n, k)`.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Matches:
    """Every predicted box, and whether it matches a digit that no better box has matched, by COCO's rules.

    Attributes:
        scenes: int `(d,)`, the row of the scene; labels: int `(d,)`; scores: float `(d,)`.
        hits: bool `(d, 10)`, one column per overlap threshold in `THRESHOLDS`.
        there: int `(n, classes)`, the true number of digits of each class in each scene.
    """

    scenes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    hits: np.ndarray
    there: np.ndarray


def match(scenes: Scenes, found: Detections) -> Matches:
    """Match predicted boxes to digits with pycocotools."""
    evaluator = _judge(scenes, found, {"all": (0.0, 1e5)})
    parts = [item for item in evaluator.evalImgs if item is not None and len(item["dtScores"])]
    there = np.zeros((len(scenes), _classes(scenes, found)), np.int64)
    np.add.at(there, (scenes.scene, scenes.labels), 1)
    counts = [len(item["dtScores"]) for item in parts]
    return Matches(
        scenes=np.repeat(np.array([item["image_id"] for item in parts], np.int64), counts),
        labels=np.repeat(np.array([item["category_id"] for item in parts], np.int64), counts),
        scores=np.concatenate([*(np.asarray(item["dtScores"]) for item in parts), np.zeros(0)]),
        hits=np.concatenate(
            [*(np.asarray(item["dtMatches"]).T > 0 for item in parts), np.zeros((0, len(THRESHOLDS)), bool)]
        ),
        there=there,
    )


def average_precision(matches: Matches, weights: np.ndarray | None = None) -> np.ndarray:
    """COCO's average precision, `(10 thresholds, classes)`: the monotone precision at 101 recall levels.

    It is NaN for classes that do not occur.

    Args:
        weights: `(n,)`, how often each scene counts, e.g. in a bootstrap sample; 1 by default.
    """
    weight = np.ones(len(matches.there)) if weights is None else weights
    wanted = weight @ matches.there
    result = np.full((len(THRESHOLDS), wanted.size), np.nan)
    order = np.argsort(-matches.scores, kind="mergesort")
    for label in np.flatnonzero(wanted):
        rows = order[matches.labels[order] == label]
        times = weight[matches.scenes[rows]]
        right = np.cumsum(times[:, None] * matches.hits[rows], axis=0)
        recall, precision = right / wanted[label], right / np.maximum(np.cumsum(times), 1e-9)[:, None]
        precision = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
        for column in range(len(THRESHOLDS)):
            where = np.searchsorted(recall[:, column], RECALLS, side="left")
            reached = where < len(rows)
            result[column, label] = (
                np.where(reached, precision[np.minimum(where, len(rows) - 1), column], 0).mean() if len(rows) else 0.0
            )
    return result


def detection_measures(scenes: Scenes, found: Detections, threshold: float) -> dict[str, float]:
    """The metrics of a detector, as a flat dict.

    `map` is COCO's mean average precision over ten overlap thresholds (0.5 to 0.95) and all digits; `map_50` and
    `map_75` are at one threshold, `ap.D` is by digit, and `map_small`, `map_medium` and `map_large` are by `SIZES`. The
    remaining metrics use boxes with a score of at least `threshold`: `count_accuracy`, the share of scenes with the
    correct number of boxes, and `precision`, `recall` and `f1` at an overlap of 0.5.
    """
    matches = match(scenes, found)
    by_class = average_precision(matches)
    shown = matches.scores >= threshold
    hits = int(matches.hits[shown, 0].sum())
    precision, recall = hits / max(1, int(shown.sum())), hits / max(1, int(matches.there.sum()))
    counted = np.bincount(matches.scenes[shown], minlength=len(scenes))
    return {
        "map": float(np.nanmean(by_class)),
        "map_50": float(np.nanmean(by_class[0])),
        "map_75": float(np.nanmean(by_class[5])),
        **{f"map_{name}": value for name, value in _by_size(scenes, found).items()},
        **{f"ap.{digit}": float(value) for digit, value in enumerate(np.nanmean(by_class, axis=0))},
        "count_accuracy": float((counted == matches.there.sum(axis=1)).mean()),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / max(1e-9, precision + recall),
    }


def best_threshold(matches: Matches) -> float:
    """The minimum score for showing a box: the threshold with the highest F1 at an overlap of 0.5."""
    order = np.argsort(-matches.scores, kind="mergesort")
    right = np.cumsum(matches.hits[order, 0])
    f1 = 2 * right / (np.arange(1, len(order) + 1) + matches.there.sum())
    return float(matches.scores[order[int(f1.argmax())]])


def precision_recall(matches: Matches, column: int) -> tuple[list[float], list[float]]:
    """Recall and precision over all digits at `THRESHOLDS[column]`; both `(d,)`, in order of descending score."""
    order = np.argsort(-matches.scores, kind="mergesort")
    right = np.cumsum(matches.hits[order, column])
    recall, precision = right / max(1, int(matches.there.sum())), right / np.arange(1, len(order) + 1)
    return recall.tolist(), precision.tolist()


def _classes(scenes: Scenes, found: Detections) -> int:
    """The number of classes, given that the last one occurs."""
    return 1 + max(int(scenes.labels.max(initial=0)), int(found.labels.max(initial=0)))


def _by_size(scenes: Scenes, found: Detections) -> dict[str, float]:
    evaluator = _judge(scenes, found, SIZES)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.accumulate()
    precision = evaluator.eval["precision"]  # (thresholds, recalls, classes, sizes, limits on boxes per scene)
    means = {}
    for index, name in enumerate(SIZES):
        known = precision[:, :, :, index, -1]
        means[name] = float(known[known > -1].mean()) if (known > -1).any() else 0.0
    return means


def _judge(scenes: Scenes, found: Detections, sizes: dict[str, tuple[float, float]]) -> COCOeval:
    sides = {"height": scenes.images.shape[1], "width": scenes.images.shape[2]}
    truth = COCO()
    digits = zip(scenes.scene.tolist(), scenes.boxes.tolist(), scenes.labels.tolist(), strict=True)
    truth.dataset = {
        "info": {},
        "images": [{"id": row, **sides} for row in range(len(scenes))],
        "categories": [{"id": digit, "name": str(digit)} for digit in range(_classes(scenes, found))],
        "annotations": [
            {"id": number, "image_id": row, "bbox": box, "area": box[2] * box[3], "category_id": label, "iscrowd": 0}
            for number, (row, box, label) in enumerate(digits, start=1)
        ],
    }
    row, place = np.nonzero(found.scores >= EMPTY)
    table = np.column_stack([row, found.boxes[row, place], found.scores[row, place], found.labels[row, place]])
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes(table.astype(np.float64)) if len(table) else COCO(), "bbox")
        evaluator.params.areaRng = [[low**2, high**2] for low, high in sizes.values()]
        evaluator.params.areaRngLbl = list(sizes)
        evaluator.params.maxDets = [found.scores.shape[1]]
        evaluator.evaluate()
    return evaluator
