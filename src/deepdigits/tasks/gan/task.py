"""The generation task: draw digits from noise with the GAN's generator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from torch import Tensor, nn

from deepdigits.core import paths
from deepdigits.core.errors import UserError
from deepdigits.core.files import read_json
from deepdigits.data.digits.splits import Split
from deepdigits.export.onnx import Arrays, Exported
from deepdigits.export.pyfunc import generator
from deepdigits.export.runtime import OnnxGenerator
from deepdigits.tasks.classification.inference import probabilities
from deepdigits.tasks.config import Evaluate
from deepdigits.tasks.contract import EvaluationResult, Interface, Judges, Rows, Samples, Task
from deepdigits.tasks.gan.evaluation import EVALUATION, SPLITS, comparable
from deepdigits.tasks.gan.metrics import (
    agreement_measures,
    covered,
    feature_measures,
    pixel_measures,
    synthetic_measures,
)
from deepdigits.tasks.gan.synthesis import classifier_of_generated


class ExportedGenerator(Exported):
    """noise float32 `(n, noise_dim)` and digit int64 `(n,)` -> images float32 `(n, 28, 28)` in [0, 1]."""

    input_names = ("noise", "digit")
    output_names = ("images",)

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, noise: Tensor, digit: Tensor) -> tuple[Tensor]:
        return (self.network(noise, digit).squeeze(1),)


def golden_inputs(count: int) -> Arrays:
    net = read_json(paths.MODELS / "gan" / "model.json")["config"]
    noise = [np.random.default_rng(seed).standard_normal(net["noise_dim"], np.float32) for seed in range(count)]
    return {"noise": np.stack(noise), "digit": np.arange(count) % net["classes"]}


def score(generator: OnnxGenerator, splits: Mapping[str, Split], judges: Judges, config: Evaluate) -> EvaluationResult:
    """Compute the measures that the floors and promotion need, and the samples in the judge's feature space.

    Raises:
        UserError: the judge provides no features.
    """
    cnn, test = judges["cnn"], splits["test"]
    if not cnn.has_features:
        raise UserError("The registered CNN provides no features to judge by. Package and promote another CNN first.")
    real, other = comparable(splits, config)
    fake = Split(generator.draw_many(real.labels, config.seed), real.labels)
    in_real, in_other, in_fake = (cnn.features(split.images) for split in (real, other, fake))
    trained_on_fake = classifier_of_generated(generator.draw_many, config.synthetic, 1 + int(test.labels.max()))
    measures = {
        **feature_measures(in_real, in_other, in_fake, config.neighbours),
        **pixel_measures(real, fake, splits["train"].images),
        **agreement_measures(cnn.probabilities(fake.images).argmax(axis=1), fake.labels),
        **synthetic_measures(probabilities(trained_on_fake, test.images).argmax(axis=1), test.labels),
    }
    return EvaluationResult(measures, Samples(in_fake, in_real, covered(in_real, in_fake, config.neighbours)))


def figures(m: Mapping[str, Any]) -> Rows:
    return [
        (f"FID in the CNN's features, {m['test.samples']:,} samples", f"{m['test.fid']:.3f}"),
        ("the same between two sets of real images", f"{m['test.fid_floor']:.3f} (ratio {m['test.fid_ratio']:.2f})"),
        (
            "coverage, recall: how much of the real images' variety the samples cover",
            f"{m['test.coverage']:.3f}, {m['test.recall']:.3f}",
        ),
        (
            "precision, density: how close the samples are to real images",
            f"{m['test.precision']:.3f}, {m['test.density']:.3f}",
        ),
        (
            "diversity within a class, relative to real images: mean, minimum",
            f"{m['test.diversity']:.3f}, {m['test.diversity_min']:.3f}",
        ),
        (
            "read by the CNN as the requested digit (95 % interval); minimum over digits",
            f"{m['test.class_accuracy']:.2%} ({m['test.class_accuracy_low']:.2%} to "
            f"{m['test.class_accuracy_high']:.2%}); {m['test.class_accuracy_min']:.2%}",
        ),
        (
            "accuracy on real test images of a CNN ensemble trained only on generated ones (95 % interval)",
            f"{m['test.synthetic_accuracy']:.2%} ({m['test.synthetic_accuracy_low']:.2%} to "
            f"{m['test.synthetic_accuracy_high']:.2%})",
        ),
        (
            "distance to the nearest training image, relative to real test images: median, lowest percentile",
            f"{m['test.novelty']:.3f}, {m['test.novelty_lowest_percent']:.3f}",
        ),
        (
            "share of samples that fool its own discriminator; a new one (0.5 is ideal)",
            f"{m['test.fool_rate']:.3f}, {m['test.fool_rate_fresh']:.3f}",
        ),
        (
            "area under the ROC curve of a new discriminator, real test images against samples (0.5 is ideal)",
            f"{m['test.auc_fresh']:.4f}",
        ),
        ("training stopped by", f"{m['stopped_by']} after {m['epochs']} epochs; kept epoch {m['best_epoch']}"),
        ("weights of the judging CNN (metrics under other CNNs are not comparable)", str(m["judged_by.cnn"])),
    ]


TASK = Task(
    evaluation=EVALUATION,
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
    figures=figures,
    interface=Interface(
        generator.__file__,
        ModelSignature(
            inputs=Schema([ColSpec(DataType.long, "digit"), ColSpec(DataType.long, "seed")]),
            outputs=Schema([TensorSpec(np.dtype("uint8"), (-1, 28, 28), "images")]),
        ),
        lambda golden: pd.DataFrame({"digit": np.unique(golden["digit"]), "seed": np.unique(golden["digit"])}),
    ),
    title="Generation: the GAN",
    pictures={
        "samples.png": "Generated images, one digit per row.",
        "real_samples.png": "Real test images.",
        "interpolation.png": "Interpolation between two noise vectors.",
        "../gan_progress/progress.gif": "Images from the same noise after each training epoch.",
    },
    open=OnnxGenerator,
    score=score,
    splits=SPLITS,
)
