"""Real handwriting, or drawn by this pipeline? The detector of fakes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from torch import Tensor, nn

from deepdigits.core import paths
from deepdigits.core.pixels import to_bytes
from deepdigits.data.digits.splits import Split, load_split
from deepdigits.export.onnx import Arrays, Exported
from deepdigits.export.pyfunc import images as served
from deepdigits.export.runtime import OnnxNetwork
from deepdigits.nn.prediction import to_unit
from deepdigits.tasks.config import Evaluate
from deepdigits.tasks.contract import EvaluationResult, Interface, Judges, Rows, Statistic, Task
from deepdigits.tasks.fakes.evaluation import EVALUATION, SEED
from deepdigits.tasks.fakes.make_fakes import real_and_fake
from deepdigits.tasks.fakes.metrics import auc, fakes_measures
from deepdigits.tasks.swap.network import other_digits


class ExportedFakesDetector(Exported):
    """images uint8 `(n, 28, 28)` -> fake float32 `(n,)`: how likely each is a fake, where half of them are."""

    input_names = ("images",)
    output_names = ("fake",)

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (self.network(to_unit(images)).sigmoid(),)


def golden_inputs(count: int) -> Arrays:
    images, _ = real_and_fake(load_split(paths.split_file("validation")), SEED)
    return {"images": images[:: max(1, len(images) // count)][:count]}


def score(fakes: OnnxNetwork, splits: Mapping[str, Split], judges: Judges, _config: Evaluate) -> EvaluationResult:
    """The test images and as many fakes, as `deepdigits.tasks.fakes.make_fakes` makes them, by registered models."""
    test = splits["test"]
    drawn = judges["gan"].draw_many(test.labels, SEED)
    asked = {"images": test.images[1::2], "digit": other_digits(test.labels)[1::2]}
    drawn[1::2] = to_bytes(judges["swap"].answer(asked)["swapped"])
    found = fakes.answer({"images": np.concatenate([test.images, drawn])})["fake"]
    real, fake = np.split(found, 2)

    def area(weights: np.ndarray) -> float:
        return auc(real, fake, np.tile(weights, 2))

    return EvaluationResult(fakes_measures(found), Statistic("area under the ROC curve", area, len(test)))


def figures(m: Mapping[str, Any]) -> Rows:
    return [
        ("area under the ROC curve", f"{m['test.auc']:.4f}"),
        (
            "the same, against digits drawn from noise alone; swapped alone",
            f"{m['test.auc_generated']:.4f}, {m['test.auc_swapped']:.4f}",
        ),
        ("fakes found where one real digit of a hundred is called a fake", f"{m['test.found_at_1_percent']:.2%}"),
        ("judged right at a probability of one half", f"{m['test.accuracy']:.2%}"),
        ("parameters", f"{m['parameters']:,}"),
    ]


TASK = Task(
    evaluation=EVALUATION,
    exported=ExportedFakesDetector,
    golden_inputs=golden_inputs,
    rules={
        "min_auc": ("auc", +1),
        "min_auc_generated": ("auc_generated", +1),
        "min_auc_swapped": ("auc_swapped", +1),
    },
    headlines=("test/auc", "test/auc_generated", "test/auc_swapped", "test/found_at_1_percent"),
    figures=figures,
    interface=Interface(
        served.__file__,
        ModelSignature(
            inputs=Schema([TensorSpec(np.dtype("uint8"), (-1, 28, 28))]),
            outputs=Schema([TensorSpec(np.dtype("float32"), (-1,), "fake")]),
        ),
        lambda golden: golden["images"][:2],
    ),
    title="Detection of fakes: real, or drawn by this pipeline?",
    pictures={
        "roc.png": "Test images against fakes of either kind.",
        "undetected.png": "The fakes most surely taken for real.",
        "false_alarms.png": "The real digits most surely called fakes.",
    },
    open=OnnxNetwork,
    score=score,
)
