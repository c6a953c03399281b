"""Which digit is it? What the CNN and the RNN have in common as tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from torch import Tensor, nn

from deepdigits.core import paths
from deepdigits.data.digits.splits import load_split
from deepdigits.export.onnx import Arrays, Exported
from deepdigits.export.pyfunc import classifier
from deepdigits.nn.prediction import to_unit
from deepdigits.tasks.contract import IMAGES, Card, Interface, Task


class ExportedClassifier(Exported):
    """images uint8 `(n, 28, 28)` -> label int64 `(n,)`, probabilities float32 `(n, 10)`."""

    input_names = ("images",)
    output_names = ("label", "probabilities")

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return label_and_probabilities(self.network(to_unit(images)))


def label_and_probabilities(logits: Tensor) -> tuple[Tensor, Tensor]:
    probabilities = logits.softmax(dim=1)
    return probabilities.argmax(dim=1), probabilities


def golden_inputs(count: int) -> Arrays:
    return {"images": load_split(paths.split_file("validation")).images[:count]}


def summary(name: str, metrics: Mapping[str, Any]) -> str:
    found = {key: metrics[f"{name}.test.{key}"] for key in ("accuracy", "accuracy_low", "accuracy_high")}
    low, high = found["accuracy_low"], found["accuracy_high"]
    return f"accuracy {found['accuracy']:.2%} (95 % interval {low:.2%} to {high:.2%})"


FIGURES = """\
| test accuracy (95 % Wilson interval) | {{ "%.2f"|format(100 * metrics['test.accuracy']) }} % ({{ "%.2f"|format(100 * metrics['test.accuracy_low']) }} to {{ "%.2f"|format(100 * metrics['test.accuracy_high']) }}) |
| test errors | {{ "%d"|format(metrics['test.errors']) }} |
| macro F1 | {{ "%.4f"|format(metrics['test.macro_f1']) }} |
| lowest recall of a digit | {{ "%.4f"|format(metrics['test.min_class_recall']) }} |
| negative log-likelihood, nats | {{ "%.4f"|format(metrics['test.nll']) }} |
| expected calibration error, and before temperature scaling | {{ "%.4f"|format(metrics['test.ece']) }}, {{ "%.4f"|format(metrics['test.ece_uncalibrated']) }} |
| temperature, fitted on validation and part of the model | {{ "%.3f"|format(metrics['test.temperature']) }} |
| share of images that can be answered at 99.9 % accuracy | {{ "%.3f"|format(metrics['test.coverage_at_99_9']) }} |
| accuracy under fifteen corruptions (MNIST-C): mean, worst | {{ "%.2f"|format(100 * metrics['test.corrupted_mean']) }} %, {{ "%.2f"|format(100 * metrics['test.corrupted_worst']) }} % |
| validation accuracy | {{ "%.2f"|format(100 * metrics['val.accuracy']) }} % |
| parameters | {{ "{:,}".format(metrics.parameters) }} |
"""
RULES = {
    "min_accuracy": ("test.accuracy", +1),
    "min_class_recall": ("test.min_class_recall", +1),
    "max_calibration_error": ("test.ece", -1),
    "min_corrupted_accuracy": ("test.corrupted_mean", +1),
}
INTERFACE = Interface(
    classifier.__file__,
    ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("uint8"), (-1, 28, 28))]),
        outputs=Schema(
            [
                TensorSpec(np.dtype("int64"), (-1,), "label"),
                TensorSpec(np.dtype("float32"), (-1, 10), "probabilities"),
            ]
        ),
    ),
    lambda golden: golden["images"][:2],
)


def classifier_task(
    name: str, network: str, load: Callable[[Path], nn.Module], exported: Callable[[Any], Exported]
) -> Task:
    """The task of a classifier; `network` says in words what it is."""
    return Task(
        name=name,
        data=IMAGES,
        metrics="evaluate",
        load=load,
        exported=exported,
        golden_inputs=golden_inputs,
        rules=RULES,
        headlines=("test/accuracy", "test/errors", "test/ece"),
        summary=partial(summary, name),
        card=Card(
            network=network,
            interface="Takes uint8 images `(n, 28, 28)`, ink 255 on background 0; returns `label` `(n,)` and "
            "`probabilities` `(n, 10)`.",
            use="Reading single, centred, handwritten digits as in its training data: teaching, benchmarks and "
            "pipeline tests. Not for\npostal, banking or medical documents without validation on such data.",
            figures=FIGURES,
            limits="One set of writers, 28x28 pixels, ink on an empty background, centred. Other digits, noise, or "
            "anything that is no\ndigit still get one of ten answers. Accuracy on other handwriting was not measured.",
        ),
        interface=INTERFACE,
    )
