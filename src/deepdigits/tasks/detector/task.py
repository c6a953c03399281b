"""The detection task: which digits are in a scene, and where?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from torch import Tensor, nn

from deepdigits.core import paths
from deepdigits.data.scenes.scenes import Scenes, load_scenes
from deepdigits.export.onnx import Arrays, Exported
from deepdigits.export.pyfunc import images as served
from deepdigits.export.runtime import OnnxNetwork
from deepdigits.nn.prediction import to_unit
from deepdigits.tasks.config import Evaluate
from deepdigits.tasks.contract import EvaluationResult, Interface, Judges, Rows, Statistic, Task
from deepdigits.tasks.detector.evaluation import EVALUATION
from deepdigits.tasks.detector.metrics import Detections, average_precision, detection_measures, match
from deepdigits.tasks.detector.network import Detector, has_box, two_guesses


class ExportedDetector(Exported):
    """images uint8 `(n, height, width)` -> boxes, scores and shown, one entry per cell.

    boxes is float32 `(n, cells, 4)`: x, y, width, height in pixels. scores is float32 `(n, cells, classes)`, one score
    per class. Both are 0 where there is no box. shown is bool `(n, cells)`: whether the best score reaches the
    threshold found on validation.

    The export neither picks a digit nor reorders the cells: with almost equal scores, ONNX Runtime and PyTorch could
    pick or sort differently.
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


def score(detector: OnnxNetwork, splits: Mapping[str, Scenes], _judges: Judges, _config: Evaluate) -> EvaluationResult:
    scenes = splits["test"]
    answers = detector.answer({"images": scenes.images})
    guesses = two_guesses(torch.from_numpy(answers["scores"]), torch.from_numpy(answers["boxes"]))
    found = Detections(*(array.numpy() for array in guesses))
    shown = answers["shown"]
    threshold = float(found.scores[:, : shown.shape[1]][shown].min(initial=1.0))
    matches = match(scenes, found)

    def mean_average_precision(weights: np.ndarray) -> float:
        return float(np.nanmean(average_precision(matches, weights)))

    evidence = Statistic("mAP", mean_average_precision, len(scenes))
    return EvaluationResult(detection_measures(scenes, found, threshold), evidence)


def figures(m: Mapping[str, Any]) -> Rows:
    return [
        ("mAP at overlaps of 0.5 to 0.95 (COCO)", f"{m['test.map']:.4f}"),
        ("mAP at an overlap of 0.5; of 0.75", f"{m['test.map_50']:.4f}, {m['test.map_75']:.4f}"),
        (
            "mAP for digits below 16, 16 to 24, above 24 pixels in size",
            f"{m['test.map_small']:.4f}, {m['test.map_medium']:.4f}, {m['test.map_large']:.4f}",
        ),
        ("scenes with the correct number of digits shown", f"{m['test.count_accuracy']:.2%}"),
        (
            "precision, recall of the boxes shown, at an overlap of 0.5",
            f"{m['test.precision']:.4f}, {m['test.recall']:.4f}",
        ),
        ("minimum score for showing a box (chosen on validation)", f"{m['test.threshold']:.3f}"),
        (
            "mAP, mAP at 0.5 on larger, more crowded scenes than any in training, searched at four scales",
            f"{m['test.stress.map']:.4f}, {m['test.stress.map_50']:.4f}",
        ),
        ("parameters", f"{m['parameters']:,}"),
    ]


TASK = Task(
    evaluation=EVALUATION,
    exported=ExportedDetector,
    golden_inputs=golden_inputs,
    rules={
        "min_map": ("map", +1),
        "min_map_50": ("map_50", +1),
        "min_count_accuracy": ("count_accuracy", +1),
    },
    headlines=("test/map", "test/map_50", "test/count_accuracy"),
    figures=figures,
    interface=Interface(
        served.__file__,
        ModelSignature(
            inputs=Schema([TensorSpec(np.dtype("uint8"), (-1, 84, 84))]),
            outputs=Schema(
                [
                    TensorSpec(np.dtype("float32"), (-1, -1, 4), "boxes"),
                    TensorSpec(np.dtype("float32"), (-1, -1, -1), "scores"),
                    TensorSpec(np.dtype("bool"), (-1, -1), "shown"),
                ]
            ),
        ),
        lambda golden: golden["images"][:2],
    ),
    title="Detection: which digits are in a scene, and where?",
    pictures={
        "test_found.png": "The first test scenes: green found, yellow missed, red false alarms.",
        "test_errors.png": "The first test scenes with a mistake.",
        "test_precision_recall.png": "Precision and recall at three overlap thresholds.",
        "by_digit.png": "Average precision by class.",
        "stress_found.png": "Larger, more crowded scenes than any in training, searched at four scales.",
    },
    open=OnnxNetwork,
    score=score,
)
