"""Evaluation of the detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from deepdigits.core import paths
from deepdigits.core.files import read_json
from deepdigits.data.scenes.scenes import Scenes, load_scenes
from deepdigits.plotting.plots import save_curves
from deepdigits.tasks.config import Evaluate
from deepdigits.tasks.detector.metrics import Detections, detection_measures, match, precision_recall
from deepdigits.tasks.detector.network import Detector, best_cells, find_cells, find_digits, load_detector, two_guesses
from deepdigits.tasks.detector.pictures import save_bars, save_detections
from deepdigits.tasks.evaluation import SCENES, Evaluation

FACTORS = (1, 2, 3, 4)  # scenes are downscaled by these, to find larger digits
SHOWN = 18  # scenes per figure
OVERLAPS = {"0.5": 0, "0.75": 5, "0.9": 8}  # indices into `deepdigits.tasks.detector.metrics.THRESHOLDS`


def evaluate(network: Detector, figures: Path, _config: Evaluate) -> dict[str, float]:
    """Compute the measures on the test scenes and, prefixed with `stress.`, on the stress scenes.

    Stress scenes are larger and more crowded than any in training. They are searched at four scales.
    """
    threshold, classes = float(network.threshold), read_json(paths.SCENE_MANIFEST)["classes"]
    measures = {"threshold": threshold}
    for name, prefix, find in (("test", "", find_digits), ("stress", "stress.", find_at_scales)):
        scenes = load_scenes(paths.scene_file(name))
        found = Detections(*find(network, scenes.images))
        measures |= {f"{prefix}{key}": value for key, value in detection_measures(scenes, found, threshold).items()}
        save_pictures(scenes, found, threshold, classes, figures, name)
    by_class = {name: measures.get(f"ap.{label}", np.nan) for label, name in enumerate(classes)}
    save_bars(by_class, figures / "by_digit.png", "Average precision by class")
    return measures


def find_at_scales(network: Detector, images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find boxes, scores and labels, as `find_digits` does, in scenes and in copies downscaled by `FACTORS`.

    In the copies, digits larger than any in training have a size that the network knows.
    """
    parts = []
    for factor in FACTORS:
        small = F.avg_pool2d(torch.from_numpy(images).float(), factor).round().to(torch.uint8).numpy()
        scores, boxes = find_cells(network, small)
        parts.append((scores, boxes * factor))
    scores, boxes = (torch.cat(arrays, dim=1) for arrays in zip(*parts, strict=True))
    boxes, scores, labels = two_guesses(*best_cells(scores, boxes, network.max_detections, network.nms_iou))
    return boxes.numpy(), scores.numpy(), labels.numpy()


def summary(measures: Mapping[str, Any]) -> str:
    return (
        f"mAP {measures['map']:.3f}, mAP at 0.5 {measures['map_50']:.3f}, "
        f"correct digit count in {measures['count_accuracy']:.1%}"
    )


def save_pictures(
    scenes: Scenes, found: Detections, threshold: float, classes: Sequence[str], figures: Path, name: str
) -> None:
    matches = match(scenes, found)
    curves = {f"overlap {overlap}": precision_recall(matches, column) for overlap, column in OVERLAPS.items()}
    save_curves(
        curves, figures / f"{name}_precision_recall.png", "Precision and recall, all digits", "recall", "precision"
    )
    save_detections(scenes, found, threshold, range(min(SHOWN, len(scenes))), classes, figures / f"{name}_found.png")
    wrong = scenes_with_errors(scenes, found, threshold)[:SHOWN]
    save_detections(scenes, found, threshold, wrong, classes, figures / f"{name}_errors.png")


def scenes_with_errors(scenes: Scenes, found: Detections, threshold: float) -> list[int]:
    """Rows of the scenes in which a digit is missed or a box matches no digit."""
    matches = match(scenes, found)
    shown = matches.scores >= threshold
    hits = np.bincount(matches.scenes[shown & matches.hits[:, 0]], minlength=len(scenes))
    boxes = np.bincount(matches.scenes[shown], minlength=len(scenes))
    return [int(row) for row in np.flatnonzero((hits < boxes) | (hits < matches.there.sum(axis=1)))]


EVALUATION = Evaluation("detector", SCENES, load_detector, evaluate, summary)
