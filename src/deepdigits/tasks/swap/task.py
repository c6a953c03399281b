"""The identity swap task: the same handwriting, another digit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from torch import Tensor, nn

from deepdigits.core import paths
from deepdigits.core.files import read_json
from deepdigits.core.pixels import to_bytes
from deepdigits.data.digits.splits import Split, load_split
from deepdigits.export.onnx import Arrays, Exported
from deepdigits.export.pyfunc import swap as served
from deepdigits.export.runtime import OnnxNetwork
from deepdigits.nn.prediction import to_unit
from deepdigits.tasks.config import Evaluate
from deepdigits.tasks.contract import EvaluationResult, Interface, Judges, Rows, Statistic, Task
from deepdigits.tasks.swap.evaluation import EVALUATION, PROBE_SEED, SPLITS, probed
from deepdigits.tasks.swap.metrics import probe_measures, style_correlations, styles, swap_measures
from deepdigits.tasks.swap.network import Swapper, other_digits


class ExportedSwapper(Exported):
    """images uint8 `(n, 28, 28)` and digit int64 `(n,)` -> swapped and style.

    swapped is float32 `(n, 28, 28)` in [0, 1]; style is float32 `(n, d)` in [-1, 1].
    """

    input_names = ("images", "digit")
    output_names = ("swapped", "style")

    def __init__(self, network: nn.Module):
        super().__init__()
        assert isinstance(network, Swapper)
        self.network = network

    def forward(self, images: Tensor, digit: Tensor) -> tuple[Tensor, ...]:
        style = self.network.style(to_unit(images))
        return self.network.generator(style, digit).squeeze(1), style


def golden_inputs(count: int) -> Arrays:
    images = load_split(paths.split_file("validation")).images[:count]
    classes = read_json(paths.MODELS / "swap" / "model.json")["config"]["gan"]["classes"]
    return {"images": images, "digit": np.arange(count) % classes}


def score(swap: OnnxNetwork, splits: Mapping[str, Split], judges: Judges, _config: Evaluate) -> EvaluationResult:
    """Score swaps of the test images, and probes trained on the style codes of training images."""
    test, known = splits["test"], probed(splits["train"])
    wanted = other_digits(test.labels, 1 + int(test.labels.max()))
    answers = swap.answer({"images": test.images, "digit": wanted})
    codes = swap.answer({"images": known.images, "digit": known.labels})["style"]
    swapped = to_bytes(answers["swapped"])
    read = judges["cnn"].probabilities(swapped).argmax(axis=1)
    sources, swaps, right = styles(test.images), styles(swapped), read == wanted

    def mean_score(weights: np.ndarray) -> float:
        return float((np.average(right, weights=weights) + style_correlations(sources, swaps, weights).sum()) / 3)

    probes = probe_measures(codes, known.labels, answers["style"], test.labels, PROBE_SEED)
    return EvaluationResult(
        {**swap_measures(sources, swaps, read, wanted), **probes},
        Statistic("mean of identity, slant and thickness", mean_score, len(test)),
    )


def figures(m: Mapping[str, Any]) -> Rows:
    return [
        (
            "read by the CNN as the requested digit (95 % interval)",
            f"{m['test.identity']:.2%} ({m['test.identity_low']:.2%} to {m['test.identity_high']:.2%})",
        ),
        ("the same, minimum over digits", f"{m['test.identity_min']:.2%}"),
        ("correlation of slant between source and swap", f"{m['test.slant_correlation']:.3f}"),
        ("correlation of stroke thickness between source and swap", f"{m['test.thickness_correlation']:.3f}"),
        (
            "digit predicted from its style code: by a network, by logistic regression (chance: 1 in all classes)",
            f"{m['test.probe']:.1%}, {m['test.probe_linear']:.1%}",
        ),
        ("mean pixel difference after swapping there and back (0 to 1)", f"{m['test.cycle_error']:.4f}"),
        ("sources read correctly by the swap itself", f"{m['test.source_read']:.2%}"),
        (
            "swaps whose ink is in one piece (real images); holes per image (real images)",
            f"{m['test.whole']:.1%} ({m['test.whole_real']:.1%}); {m['test.holes']:.2f} ({m['test.holes_real']:.2f})",
        ),
        (
            "share of the ink that is neither dark nor bright, high where edges are blurred (real images)",
            f"{m['test.soft']:.1%} ({m['test.soft_real']:.1%})",
        ),
        (
            "area under the ROC curve of a new discriminator, real test images against swaps (0.5 is ideal)",
            f"{m['test.auc_fresh']:.4f}",
        ),
        ("parameters", f"{m['parameters']:,}"),
    ]


TASK = Task(
    evaluation=EVALUATION,
    exported=ExportedSwapper,
    golden_inputs=golden_inputs,
    rules={
        "min_identity": ("identity", +1),
        "min_slant_correlation": ("slant_correlation", +1),
        "min_thickness_correlation": ("thickness_correlation", +1),
        "max_probe": ("probe", -1),
    },
    headlines=("test/identity", "test/slant_correlation", "test/thickness_correlation", "test/probe"),
    figures=figures,
    interface=Interface(
        served.__file__,
        ModelSignature(
            inputs=Schema(
                [
                    TensorSpec(np.dtype("uint8"), (-1, 28, 28), "images"),
                    TensorSpec(np.dtype("int64"), (-1,), "digit"),
                ]
            ),
            outputs=Schema([TensorSpec(np.dtype("uint8"), (-1, 28, 28), "swapped")]),
        ),
        lambda golden: {name: golden[name][:2] for name in ("images", "digit")},
    ),
    title="Identity swap: the same handwriting, another digit",
    pictures={
        "table.png": "Left column: one source per digit. Other columns: its handwriting as 0 to 9.",
        "style.png": "Slant and stroke thickness of source and swap.",
        "misread.png": "Sources, each followed by a swap that the CNN misreads.",
    },
    open=OnnxNetwork,
    score=score,
    splits=SPLITS,
)
