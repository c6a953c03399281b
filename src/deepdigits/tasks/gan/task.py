"""Drawing digits from noise: the GAN's generator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from torch import Tensor, nn

from deepdigits.core import paths
from deepdigits.core.files import read_json
from deepdigits.export.onnx import Arrays, Exported
from deepdigits.export.pyfunc import generator
from deepdigits.tasks.contract import IMAGES, Card, Interface, Task
from deepdigits.tasks.gan.network import load_generator


class ExportedGenerator(Exported):
    """noise float32 `(n, noise_dim)` and digit int64 `(n,)` -> images float32 `(n, 28, 28)` in 0 to 1."""

    input_names = ("noise", "digit")
    output_names = ("images",)

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, noise: Tensor, digit: Tensor) -> tuple[Tensor]:
        return (self.network(noise, digit).squeeze(1),)


def golden_inputs(count: int) -> Arrays:
    noise_dim = read_json(paths.MODELS / "gan" / "model.json")["config"]["noise_dim"]
    noise = [np.random.default_rng(seed).standard_normal(noise_dim, np.float32) for seed in range(count)]
    return {"noise": np.stack(noise), "digit": np.arange(count) % 10}


def summary(metrics: Mapping[str, Any]) -> str:
    return (
        f"FID {metrics['gan.fid']:.3f} (real against real {metrics['gan.fid_floor']:.3f}), "
        f"coverage {metrics['gan.coverage']:.3f}, right digit {metrics['gan.class_accuracy']:.2%}, "
        f"stopped by {metrics['gan.stopped_by']}"
    )


FIGURES = """\
| FID in the CNN's features, {{ "{:,}".format(metrics.samples) }} samples | {{ "%.3f"|format(metrics.fid) }} |
| the same between two sets of real images | {{ "%.3f"|format(metrics.fid_floor) }} |
| coverage, recall | {{ "%.3f"|format(metrics.coverage) }}, {{ "%.3f"|format(metrics.recall) }} |
| precision, density | {{ "%.3f"|format(metrics.precision) }}, {{ "%.3f"|format(metrics.density) }} |
| variety inside a class, over that of real images: mean, least | {{ "%.3f"|format(metrics.diversity) }}, {{ "%.3f"|format(metrics.diversity_min) }} |
| read by the CNN as the digit asked for (95 % interval) | {{ "%.2f"|format(100 * metrics.class_accuracy) }} % ({{ "%.2f"|format(100 * metrics.class_accuracy_low) }} to {{ "%.2f"|format(100 * metrics.class_accuracy_high) }}) |
| accuracy on real test images of CNNs trained on generated ones alone, together (95 % interval) | {{ "%.2f"|format(100 * metrics.synthetic_accuracy) }} % ({{ "%.2f"|format(100 * metrics.synthetic_accuracy_low) }} to {{ "%.2f"|format(100 * metrics.synthetic_accuracy_high) }}) |
| distance to the nearest training image, over that of real test images: median, lowest percent | {{ "%.3f"|format(metrics.novelty) }}, {{ "%.3f"|format(metrics.novelty_lowest_percent) }} |
| share that fools its own discriminator, and one trained anew (0.5 is ideal) | {{ "%.3f"|format(metrics.fool_rate) }}, {{ "%.3f"|format(metrics.fool_rate_fresh) }} |
| training ended by | {{ metrics.stopped_by }} after {{ metrics.epochs }} epochs |

FID is measured in the features of the CNN with weights `{{ metrics.feature_network_sha256 }}`; figures of other
feature networks do not compare.
"""
GAN = Task(
    name="gan",
    data=IMAGES,
    metrics="evaluate",
    load=load_generator,
    exported=ExportedGenerator,
    golden_inputs=golden_inputs,
    rules={
        "max_fid_ratio": ("fid_ratio", -1),
        "min_coverage": ("coverage", +1),
        "min_diversity": ("diversity_min", +1),
        "min_class_accuracy": ("class_accuracy", +1),
        "min_synthetic_accuracy": ("synthetic_accuracy", +1),
        "min_novelty": ("novelty", +1),
    },
    headlines=("test/fid", "test/fid_floor", "test/coverage", "test/class_accuracy"),
    judges={"cnn": "FID, coverage and the digit read are by the CNN"},
    summary=summary,
    card=Card(
        network="the generator of a class-conditional GAN, averaged over training",
        interface="Takes columns `digit` (0 to 9) and `seed` (0 or more); returns `images` uint8 `(n, 28, 28)`.",
        use="Drawing synthetic digits for teaching, tests and augmentation studies. Not for passing images off as "
        "real handwriting.",
        figures=FIGURES,
        limits="Samples look like the training data: one set of writers, 28x28 pixels, no background. Variety is "
        "below that of real\nimages, and some samples are read as another digit than the one asked for.",
    ),
    interface=Interface(
        generator.__file__,
        ModelSignature(
            inputs=Schema([ColSpec(DataType.long, "digit"), ColSpec(DataType.long, "seed")]),
            outputs=Schema([TensorSpec(np.dtype("uint8"), (-1, 28, 28), "images")]),
        ),
        lambda golden: pd.DataFrame({"digit": np.arange(10), "seed": np.arange(10)}),
    ),
)
