"""The classification task of the CNN."""

from __future__ import annotations

from torch import Tensor

from deepdigits.export.onnx import Exported
from deepdigits.nn.prediction import to_unit
from deepdigits.tasks.classification.task import classifier_task, label_and_probabilities
from deepdigits.tasks.cnn.evaluation import EVALUATION
from deepdigits.tasks.cnn.network import Cnn


class ExportedCnn(Exported):
    """images uint8 `(n, 28, 28)` -> label int64 `(n,)`, probabilities float32 `(n, k)`, features float32 `(n, d)`.

    The features are the space for judging generated images.
    """

    input_names = ("images",)
    output_names = ("label", "probabilities", "features")

    def __init__(self, network: Cnn):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features = self.network.features(to_unit(images))
        logits = self.network.temperature(self.network.head(features))
        return *label_and_probabilities(logits), features


TASK = classifier_task(
    EVALUATION,
    ExportedCnn,
    "Classification: the convolutional network",
    {"first_layer.png": "What the first layer has learned: shared weights that respond to local patterns."},
)
