"""The segmentation task: which digit does each pixel belong to?"""

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
from deepdigits.tasks.segmenter.evaluation import EVALUATION
from deepdigits.tasks.segmenter.metrics import confusions, mean_iou, segmentation_measures


class ExportedSegmenter(Exported):
    """images uint8 `(n, height, width)` -> semantic uint8 `(n, height, width)`: 0 background, otherwise 1 + digit."""

    input_names = ("images",)
    output_names = ("semantic",)

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (self.network(to_unit(images)).argmax(dim=1).to(torch.uint8),)


def golden_inputs(count: int) -> Arrays:
    return {"images": load_scenes(paths.scene_file("validation")).images[:count]}


def score(segmenter: OnnxNetwork, splits: Mapping[str, Scenes], _judges: Judges, _config: Evaluate) -> EvaluationResult:
    scenes = splits["test"]
    semantic = segmenter.answer({"images": scenes.images})["semantic"]
    by_scene = confusions(scenes.semantic, semantic)

    def iou(weights: np.ndarray) -> float:
        return mean_iou(np.tensordot(weights, by_scene, axes=1))

    return EvaluationResult(segmentation_measures(scenes, semantic), Statistic("mean IoU", iou, len(scenes)))


def figures(m: Mapping[str, Any]) -> Rows:
    return [
        ("mean IoU over the ten digits", f"{m['test.miou']:.4f}"),
        ("boundary F1, with a tolerance of one pixel", f"{m['test.boundary_f1']:.4f}"),
        ("pixel accuracy", f"{m['test.pixel_accuracy']:.2%}"),
        (
            "where digits overlap: mean IoU, pixel accuracy",
            f"{m['test.miou_overlap']:.4f}, {m['test.pixel_accuracy_overlap']:.2%}",
        ),
        ("parameters", f"{m['parameters']:,}"),
    ]


TASK = Task(
    evaluation=EVALUATION,
    exported=ExportedSegmenter,
    golden_inputs=golden_inputs,
    rules={"min_miou": ("miou", +1), "min_boundary_f1": ("boundary_f1", +1)},
    headlines=("test/miou", "test/boundary_f1", "test/miou_overlap"),
    figures=figures,
    interface=Interface(
        served.__file__,
        ModelSignature(
            inputs=Schema([TensorSpec(np.dtype("uint8"), (-1, 84, 84))]),
            outputs=Schema([TensorSpec(np.dtype("uint8"), (-1, 84, 84), "semantic")]),
        ),
        lambda golden: golden["images"][:2],
    ),
    title="Segmentation: which digit does each pixel belong to?",
    pictures={
        "overlays.png": "The first test scenes.",
        "worst.png": "The test scenes with the lowest mean IoU.",
        "by_digit.png": "IoU by digit.",
    },
    open=OnnxNetwork,
    score=score,
)
