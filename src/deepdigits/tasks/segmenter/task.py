"""Which digit does each pixel belong to? The segmenter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
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
from deepdigits.nn.prediction import to_unit
from deepdigits.tasks.contract import SCENES, Card, Interface, Judged, Judges, Task
from deepdigits.tasks.detector.pictures import save_bars, save_overlays
from deepdigits.tasks.segmenter.metrics import confusions, iou_by_class, mean_iou, segmentation_measures
from deepdigits.tasks.segmenter.network import Segmenter, load_segmenter, name_pixels

SHOWN = 8  # scenes in a picture


class ExportedSegmenter(Exported):
    """images uint8 `(n, height, width)` -> semantic uint8 `(n, height, width)`: 0 background, else 1 + the digit."""

    input_names = ("images",)
    output_names = ("semantic",)

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (self.network(to_unit(images)).argmax(dim=1).to(torch.uint8),)


def golden_inputs(count: int) -> Arrays:
    return {"images": load_scenes(paths.scene_file("validation")).images[:count]}


def evaluate(network: Segmenter, figures: Path) -> dict[str, float]:
    """Figures of the test scenes; pictures of the first, and of those with the lowest mean IoU."""
    scenes = load_scenes(paths.scene_file("test"))
    found = name_pixels(network, scenes.images)
    measures = segmentation_measures(scenes, found)
    by_scene = np.nanmean(iou_by_class(confusions(scenes.semantic, found))[:, 1:], axis=1)
    worst = np.argsort(by_scene, kind="stable")[:SHOWN]
    save_overlays(scenes, found, range(min(SHOWN, len(scenes))), figures / "overlays.png")
    save_overlays(scenes, found, [int(row) for row in worst], figures / "worst.png")
    save_bars([measures[f"iou.{digit}"] for digit in range(10)], figures / "by_digit.png", "IoU by digit")
    return measures


def score(answers: Arrays, splits: Mapping[str, Scenes], _judges: Judges) -> Judged:
    scenes = splits["test"]
    by_scene = confusions(scenes.semantic, answers["semantic"])

    def iou(weights: np.ndarray) -> float:
        return mean_iou(np.tensordot(weights, by_scene, axes=1))

    return Judged("mean IoU", iou, segmentation_measures(scenes, answers["semantic"]))


def summary(metrics: Mapping[str, Any]) -> str:
    found = {key: metrics[f"segmenter.test.{key}"] for key in ("miou", "boundary_f1", "miou_overlap")}
    return (
        f"mean IoU {found['miou']:.3f}, outlines {found['boundary_f1']:.3f}, where digits overlap "
        f"{found['miou_overlap']:.3f}"
    )


SEGMENTER = Task(
    name="segmenter",
    data=SCENES,
    metrics="evaluate_segmenter",
    load=load_segmenter,
    exported=ExportedSegmenter,
    golden_inputs=golden_inputs,
    rules={"min_miou": ("test.miou", +1), "min_boundary_f1": ("test.boundary_f1", +1)},
    headlines=("test/miou", "test/boundary_f1", "test/miou_overlap"),
    summary=summary,
    card=Card(
        network="a small U-Net that begins with the detector's backbone",
        interface="Takes scenes uint8 `(n, 84, 84)`, dark 0 to bright 255; returns `semantic` uint8 `(n, 84, 84)`: 0 for "
        "background, 1 + d\nfor digit d.",
        use="Telling the pixels of handwritten digits apart in composed scenes: teaching, benchmarks and pipeline tests. "
        "Not for\nphotographs, forms or documents without validation on such data.",
        figures="""\
| mean IoU over the ten digits | {{ "%.4f"|format(metrics['test.miou']) }} |
| F-score of the outlines, within a pixel | {{ "%.4f"|format(metrics['test.boundary_f1']) }} |
| pixels named right | {{ "%.2f"|format(100 * metrics['test.pixel_accuracy']) }} % |
| where digits overlap: mean IoU, pixels named right | {{ "%.4f"|format(metrics['test.miou_overlap']) }}, {{ "%.2f"|format(100 * metrics['test.pixel_accuracy_overlap']) }} % |
| parameters | {{ "{:,}".format(metrics.parameters) }} |
""",
        limits="Digits of 20 to 40 pixels' height on shaded, noisy ground, as they are composed here. Where digits lie across "
        "one another,\nthe uppermost counts, and which one that is cannot always be seen.",
    ),
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
        "by_digit.png": "IoU of each digit.",
    },
    evaluate=evaluate,
    score=score,
)
