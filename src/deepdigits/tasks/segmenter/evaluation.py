"""Evaluation of the segmenter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepdigits.core import paths
from deepdigits.core.files import read_json
from deepdigits.data.scenes.scenes import load_scenes
from deepdigits.tasks.config import Evaluate
from deepdigits.tasks.detector.pictures import save_bars, save_overlays
from deepdigits.tasks.evaluation import SCENES, Evaluation
from deepdigits.tasks.segmenter.metrics import confusions, iou_by_class, segmentation_measures
from deepdigits.tasks.segmenter.network import Segmenter, load_segmenter, name_pixels

SHOWN = 8  # scenes per figure


def evaluate(network: Segmenter, figures: Path, _config: Evaluate) -> dict[str, float]:
    """Compute the measures on the test scenes; plot the first scenes and those with the lowest mean IoU."""
    scenes = load_scenes(paths.scene_file("test"))
    found = name_pixels(network, scenes.images)
    measures = segmentation_measures(scenes, found)
    by_scene = np.nanmean(iou_by_class(confusions(scenes.semantic, found))[:, 1:], axis=1)
    worst = np.argsort(by_scene, kind="stable")[:SHOWN]
    save_overlays(scenes, found, range(min(SHOWN, len(scenes))), figures / "overlays.png")
    save_overlays(scenes, found, [int(row) for row in worst], figures / "worst.png")
    classes = read_json(paths.SCENE_MANIFEST)["classes"]
    by_class = {name: measures.get(f"iou.{label}", np.nan) for label, name in enumerate(classes)}
    save_bars(by_class, figures / "by_digit.png", "IoU by class")
    return measures


def summary(measures: Mapping[str, Any]) -> str:
    return (
        f"mean IoU {measures['miou']:.3f}, boundary F1 {measures['boundary_f1']:.3f}, mean IoU where digits overlap "
        f"{measures['miou_overlap']:.3f}"
    )


EVALUATION = Evaluation("segmenter", SCENES, load_segmenter, evaluate, summary)
