"""Which digit is it? The CNN and the RNN."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from torch import Tensor, nn

from deepdigits import paths
from deepdigits.data.batches import to_unit
from deepdigits.data.splits import load_split
from deepdigits.inference import load_network
from deepdigits.models.cnn import Cnn
from deepdigits.packaging import Arrays, Exported
from deepdigits.pyfunc import classifier
from deepdigits.tasks.task import IMAGES, Card, Interface, Task


class ExportedClassifier(Exported):
    """images uint8 `(n, 28, 28)` -> label int64 `(n,)`, probabilities float32 `(n, 10)`."""

    input_names = ("images",)
    output_names = ("label", "probabilities")

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return _label_and_probabilities(self.network(to_unit(images)))


class ExportedCnn(Exported):
    """As `ExportedClassifier`, and features float32 `(n, d)`: the space in which generated images are judged."""

    input_names = ("images",)
    output_names = ("label", "probabilities", "features")

    def __init__(self, network: Cnn):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features = self.network.features(to_unit(images))
        logits = self.network.temperature(self.network.head(features))
        return *_label_and_probabilities(logits), features


def _label_and_probabilities(logits: Tensor) -> tuple[Tensor, Tensor]:
    probabilities = logits.softmax(dim=1)
    return probabilities.argmax(dim=1), probabilities


def exported(network: nn.Module) -> Exported:
    return ExportedCnn(network) if isinstance(network, Cnn) else ExportedClassifier(network)


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
NETWORKS = {
    "cnn": "a convolutional network (local contrast, five 3x3 convolutions, batch norm, global max pooling)",
    "rnn": "a recurrent network that reads the image as a sequence of rows (local contrast, then LSTM or GRU) or of pixels",
}
CNN, RNN = (
    Task(
        name=name,
        data=IMAGES,
        metrics="evaluate",
        load=load_network,
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
    for name, network in NETWORKS.items()
)
