"""Real handwriting, or drawn by this pipeline? The detector of fakes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
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
from deepdigits.export.runtime import OnnxGenerator, OnnxNetwork
from deepdigits.nn.prediction import to_unit
from deepdigits.plotting.figures import save_image_grid
from deepdigits.plotting.plots import save_curves
from deepdigits.tasks.contract import IMAGES, Card, Interface, Judged, Judges, Task
from deepdigits.tasks.fakes.make_fakes import real_and_fake
from deepdigits.tasks.fakes.metrics import auc, fakes_measures, roc
from deepdigits.tasks.fakes.network import FakesDetector, fake_probabilities, load_fakes_detector
from deepdigits.tasks.swap.metrics import other_digits

FORGED = 0  # seed of the noise that test fakes are drawn from; training has others
SHOWN = 60  # images in a picture


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
    images, _ = real_and_fake(load_split(paths.split_file("validation")), FORGED)
    return {"images": images[:: len(images) // count][:count]}


def inputs(splits: Mapping[str, Split], judges: Judges) -> Arrays:
    """The test images and as many fakes, as `deepdigits.tasks.fakes.make_fakes.forge` makes them, by registered models."""
    test, generator, swapper = splits["test"], judges["gan"], judges["swap"]
    assert isinstance(generator, OnnxGenerator)
    assert isinstance(swapper, OnnxNetwork)
    fakes = generator.draw_many(test.labels, FORGED)
    asked = {"images": test.images[1::2], "digit": other_digits(test.labels)[1::2]}
    fakes[1::2] = to_bytes(swapper.answer(asked)["swapped"])
    return {"images": np.concatenate([test.images, fakes])}


def evaluate(network: FakesDetector, figures: Path) -> dict[str, float]:
    """Figures of the test images and as many fakes; the ROC, and the pictures that are misjudged most surely."""
    images, is_fake = real_and_fake(load_split(paths.split_file("test")), FORGED)
    found = fake_probabilities(network, images)
    real, fake = np.split(found, 2)
    curves = {
        f"{name}, area {auc(real, part):.4f}": roc(real, part)
        for name, part in (("drawn from noise", fake[0::2]), ("swapped", fake[1::2]))
    }
    save_curves(curves, figures / "roc.png", "Real digits against fakes", "real digits called fakes", "fakes found")
    order = np.argsort(found, kind="stable")
    save_image_grid(images[order[::-1]][is_fake[order[::-1]] == 0][:SHOWN], figures / "false_alarms.png", columns=12)
    save_image_grid(images[order][is_fake[order] == 1][:SHOWN], figures / "undetected.png", columns=12)
    return fakes_measures(found)


def score(answers: Arrays, _splits: Mapping[str, Split], _judges: Judges) -> Judged:
    real, fake = np.split(answers["fake"], 2)

    def area(weights: np.ndarray) -> float:
        return auc(real, fake, np.tile(weights, 2))

    return Judged("area under the ROC curve", area, fakes_measures(answers["fake"]))


def summary(metrics: Mapping[str, Any]) -> str:
    found = {key: metrics[f"fakes.test.{key}"] for key in ("auc", "auc_generated", "auc_swapped", "found_at_1_percent")}
    return (
        f"area under the ROC curve {found['auc']:.4f} (drawn from noise {found['auc_generated']:.4f}, swapped "
        f"{found['auc_swapped']:.4f}), found at 1 % false alarms {found['found_at_1_percent']:.2%}"
    )


FAKES = Task(
    name="fakes",
    data=IMAGES,
    metrics="evaluate_fakes",
    load=load_fakes_detector,
    exported=ExportedFakesDetector,
    golden_inputs=golden_inputs,
    rules={
        "min_auc": ("test.auc", +1),
        "min_auc_generated": ("test.auc_generated", +1),
        "min_auc_swapped": ("test.auc_swapped", +1),
    },
    headlines=("test/auc", "test/auc_generated", "test/auc_swapped", "test/found_at_1_percent"),
    summary=summary,
    card=Card(
        network="a small convolutional network with one answer",
        interface="Takes uint8 images `(n, 28, 28)`, ink 255 on background 0; returns `fake` float32 `(n,)`, 0 to 1.",
        use="Spotting digits that the GAN and the swap of the same package draw: teaching, benchmarks and pipeline "
        "tests. Not for\nother generators: it learned the marks of these two.",
        figures="""\
| area under the ROC curve | {{ "%.4f"|format(metrics['test.auc']) }} |
| the same, against digits drawn from noise alone; swapped alone | {{ "%.4f"|format(metrics['test.auc_generated']) }}, {{ "%.4f"|format(metrics['test.auc_swapped']) }} |
| fakes found where one real digit of a hundred is called a fake | {{ "%.2f"|format(100 * metrics['test.found_at_1_percent']) }} % |
| judged right at a probability of one half | {{ "%.2f"|format(100 * metrics['test.accuracy']) }} % |
| parameters | {{ "{:,}".format(metrics.parameters) }} |
""",
        limits="A fake that is scaled, blurred or compressed may pass: what gives fakes away is in their finest detail. "
        "Its\nprobability supposes that half of the images are fakes.",
    ),
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
    evaluate=evaluate,
    judges={"gan": "Fakes drawn from noise are by the GAN", "swap": "Swapped fakes are by the swap"},
    inputs=inputs,
    score=score,
)
