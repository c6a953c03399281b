"""Which digits are there, and where? The detector."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from torch import Tensor, nn
from torch.nn import functional as F

from deepdigits.core import paths
from deepdigits.data.scenes.scenes import Scenes, load_scenes
from deepdigits.export.onnx import Arrays, Exported
from deepdigits.export.pyfunc import images as served
from deepdigits.nn.prediction import to_unit
from deepdigits.plotting.plots import save_curves
from deepdigits.tasks.contract import SCENES, Card, Interface, Judged, Judges, Task
from deepdigits.tasks.detector.metrics import Found, average_precision, detection_measures, match, precision_recall
from deepdigits.tasks.detector.network import (
    Detector,
    best_cells,
    find_cells,
    find_digits,
    has_box,
    load_detector,
    two_guesses,
)
from deepdigits.tasks.detector.pictures import save_bars, save_detections

FACTORS = (1, 2, 3, 4)  # by which scenes are made smaller, to find what is larger
SHOWN = 18  # scenes in a picture
OVERLAPS = {"0.5": 0, "0.75": 5, "0.9": 8}  # columns of `deepdigits.tasks.detector.metrics.THRESHOLDS`


class ExportedDetector(Exported):
    """images uint8 `(n, height, width)` -> for each cell its box float32 `(n, cells, 4)` x, y, width, height in pixels,
    and the score of each digit float32 `(n, cells, 10)`, all 0 where it has no box; shown bool `(n, cells)`, whether the
    best score reaches the threshold that was found on validation.

    No digit is chosen here, and the cells stay in their order: among scores that are almost equal, ONNX Runtime and
    PyTorch may choose and sort otherwise.
    """

    input_names = ("images",)
    output_names = ("boxes", "scores", "shown")

    def __init__(self, network: nn.Module):
        super().__init__()
        assert isinstance(network, Detector)
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        logits, boxes = self.network(to_unit(images))
        scores = logits.sigmoid()
        best = scores.amax(dim=2)
        kept = has_box(best, boxes, best[:, None] > best[:, :, None], self.network.nms_iou)
        return boxes * kept.unsqueeze(2), scores * kept.unsqueeze(2), kept & (best >= self.network.threshold)


def golden_inputs(count: int) -> Arrays:
    return {"images": load_scenes(paths.scene_file("validation")).images[:count]}


def evaluate(network: Detector, figures: Path) -> dict[str, float]:
    """Figures of the test scenes, and under `stress.` of larger, fuller ones than any in training, searched at four
    scales."""
    threshold = float(network.threshold)
    measures = {"threshold": threshold}
    for name, prefix, find in (("test", "", find_digits), ("stress", "stress.", find_at_scales)):
        scenes = load_scenes(paths.scene_file(name))
        found = Found(*find(network, scenes.images))
        measures |= {f"{prefix}{key}": value for key, value in detection_measures(scenes, found, threshold).items()}
        save_pictures(scenes, found, threshold, figures, name)
    save_bars([measures[f"ap.{digit}"] for digit in range(10)], figures / "by_digit.png", "Average precision by digit")
    return measures


def score(answers: Arrays, splits: Mapping[str, Scenes], _judges: Judges) -> Judged:
    scenes = splits["test"]
    guesses = two_guesses(torch.from_numpy(answers["scores"]), torch.from_numpy(answers["boxes"]))
    found = Found(*(array.numpy() for array in guesses))
    shown = answers["shown"]
    threshold = float(found.scores[:, : shown.shape[1]][shown].min(initial=1.0))
    matches = match(scenes, found)

    def mean_average_precision(weights: np.ndarray) -> float:
        return float(np.nanmean(average_precision(matches, weights)))

    return Judged("mAP", mean_average_precision, detection_measures(scenes, found, threshold))


def find_at_scales(network: Detector, images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes, scores and labels, as of `find_digits`, in scenes and in copies of them made smaller by `FACTORS`, where
    digits larger than any in training have a size that the network knows."""
    parts = []
    for factor in FACTORS:
        small = F.avg_pool2d(torch.from_numpy(images).float(), factor).round().to(torch.uint8).numpy()
        scores, boxes = find_cells(network, small)
        parts.append((scores, boxes * factor))
    scores, boxes = (torch.cat(arrays, dim=1) for arrays in zip(*parts, strict=True))
    boxes, scores, labels = two_guesses(*best_cells(scores, boxes, network.most, network.nms_iou))
    return boxes.numpy(), scores.numpy(), labels.numpy()


def save_pictures(scenes: Scenes, found: Found, threshold: float, figures: Path, name: str) -> None:
    matches = match(scenes, found)
    curves = {f"overlap {overlap}": precision_recall(matches, column) for overlap, column in OVERLAPS.items()}
    save_curves(
        curves, figures / f"{name}_precision_recall.png", "Precision and recall, all digits", "recall", "precision"
    )
    save_detections(scenes, found, threshold, range(min(SHOWN, len(scenes))), figures / f"{name}_found.png")
    wrong = scenes_with_errors(scenes, found, threshold)[:SHOWN]
    save_detections(scenes, found, threshold, wrong, figures / f"{name}_errors.png")


def scenes_with_errors(scenes: Scenes, found: Found, threshold: float) -> list[int]:
    """The first scenes in which a digit is missed or a box meets none."""
    matches = match(scenes, found)
    shown = matches.scores >= threshold
    hits = np.bincount(matches.scenes[shown & matches.hits[:, 0]], minlength=len(scenes))
    boxes = np.bincount(matches.scenes[shown], minlength=len(scenes))
    return [int(row) for row in np.flatnonzero((hits < boxes) | (hits < matches.there.sum(axis=1)))]


def summary(metrics: Mapping[str, Any]) -> str:
    found = {key: metrics[f"detector.test.{key}"] for key in ("map", "map_50", "count_accuracy")}
    return (
        f"mAP {found['map']:.3f}, at 0.5 {found['map_50']:.3f}, digits counted right in {found['count_accuracy']:.1%}"
    )


DETECTOR = Task(
    name="detector",
    data=SCENES,
    metrics="evaluate_detector",
    load=load_detector,
    exported=ExportedDetector,
    golden_inputs=golden_inputs,
    rules={
        "min_map": ("test.map", +1),
        "min_map_50": ("test.map_50", +1),
        "min_count_accuracy": ("test.count_accuracy", +1),
    },
    headlines=("test/map", "test/map_50", "test/count_accuracy"),
    summary=summary,
    card=Card(
        network="an anchor-free one-stage detector, after FCOS, whose scores are trained to be the overlap of their box",
        interface="Takes scenes uint8 `(n, 84, 84)`, dark 0 to bright 255; returns `boxes` `(n, k, 4)` x, y, width, "
        "height in pixels,\n`scores` `(n, k, 10)` of the digits in each, 0 where there is no box, and `shown` `(n, k)`, "
        "whether the best of them\nreaches the model's own threshold.",
        use="Finding handwritten digits in composed scenes: teaching, benchmarks and pipeline tests. Not for "
        "photographs, forms or\ndocuments without validation on such data.",
        figures="""\
| mAP at overlaps of 0.5 to 0.95 (COCO) | {{ "%.4f"|format(metrics['test.map']) }} |
| at 0.5, at 0.75 | {{ "%.4f"|format(metrics['test.map_50']) }}, {{ "%.4f"|format(metrics['test.map_75']) }} |
| of digits of a side below 16, 16 to 24, above 24 pixels | {{ "%.4f"|format(metrics['test.map_small']) }}, {{ "%.4f"|format(metrics['test.map_medium']) }}, {{ "%.4f"|format(metrics['test.map_large']) }} |
| scenes in which as many digits are shown as there are | {{ "%.2f"|format(100 * metrics['test.count_accuracy']) }} % |
| precision, recall of the boxes shown, at 0.5 | {{ "%.4f"|format(metrics['test.precision']) }}, {{ "%.4f"|format(metrics['test.recall']) }} |
| the score from which on a box is shown, found on validation | {{ "%.3f"|format(metrics['test.threshold']) }} |
| mAP, and at 0.5, on larger and fuller scenes than any in training, searched at four scales | {{ "%.4f"|format(metrics['test.stress.map']) }}, {{ "%.4f"|format(metrics['test.stress.map_50']) }} |
| parameters | {{ "{:,}".format(metrics.parameters) }} |
""",
        limits="Digits of 20 to 40 pixels' height on shaded, noisy ground, as they are composed here. Of two digits that "
        "lie across one\nanother, one is missed now and then. Much larger digits are found in smaller copies of the scene only, which "
        "the ONNX file\ndoes not make, and parts of them may be taken for digits.",
    ),
    interface=Interface(
        served.__file__,
        ModelSignature(
            inputs=Schema([TensorSpec(np.dtype("uint8"), (-1, 84, 84))]),
            outputs=Schema(
                [
                    TensorSpec(np.dtype("float32"), (-1, -1, 4), "boxes"),
                    TensorSpec(np.dtype("float32"), (-1, -1, 10), "scores"),
                    TensorSpec(np.dtype("bool"), (-1, -1), "shown"),
                ]
            ),
        ),
        lambda golden: golden["images"][:2],
    ),
    title="Detection: which digits are there, and where?",
    pictures={
        "test_found.png": "The first test scenes: green found, yellow missed, red false alarms.",
        "test_errors.png": "The first test scenes with a mistake.",
        "test_precision_recall.png": "At three overlaps that a hit needs.",
        "by_digit.png": "mAP of each digit.",
        "stress_found.png": "Larger, fuller scenes than any in training, searched at four scales.",
    },
    evaluate=evaluate,
    score=score,
)
