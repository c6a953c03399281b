"""Which digit is it? The CNN."""

from __future__ import annotations

from torch import Tensor

from deepdigits.export.onnx import Exported
from deepdigits.nn.prediction import to_unit
from deepdigits.tasks.classification.task import classifier_task, label_and_probabilities
from deepdigits.tasks.cnn.network import Cnn, load_cnn


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
        return *label_and_probabilities(logits), features


CNN = classifier_task(
    "cnn",
    "a convolutional network (local contrast, five 3x3 convolutions, batch norm, global max pooling)",
    load_cnn,
    ExportedCnn,
)
