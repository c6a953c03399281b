"""The same handwriting, another digit: the identity swap."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from torch import Tensor, nn

from deepdigits.core import paths
from deepdigits.core.measures import weights_file
from deepdigits.core.pixels import to_bytes
from deepdigits.data.digits.splits import Split, load_split
from deepdigits.export.onnx import Arrays, Exported
from deepdigits.export.pyfunc import swap as served
from deepdigits.export.runtime import OnnxClassifier
from deepdigits.nn.contrast import CLASSES
from deepdigits.nn.prediction import to_unit
from deepdigits.plotting.figures import save_image_grid
from deepdigits.plotting.plots import save_pairs
from deepdigits.tasks.classification.inference import probabilities
from deepdigits.tasks.cnn.network import load_cnn
from deepdigits.tasks.contract import IMAGES, Card, Interface, Judged, Judges, Task
from deepdigits.tasks.swap.metrics import (
    cycle_error,
    other_digits,
    probe_measures,
    style_correlations,
    styles,
    swap_measures,
)
from deepdigits.tasks.swap.network import Swapper, digits_read, load_swapper, style_codes, swap_digits

SHOWN = 60  # misread swaps in a picture
STYLE = ("slant, radians", "thickness, pixels")
SPLITS = ("test", "train")
PROBE_SEED = 0
PROBED = 20_000  # training images whose style codes the probes learn from


class ExportedSwapper(Exported):
    """images uint8 `(n, 28, 28)` and digit int64 `(n,)` -> swapped float32 `(n, 28, 28)` in 0 to 1, style float32
    `(n, d)` in -1 to 1."""

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
    return {"images": images, "digit": np.arange(count) % CLASSES}


def probed(train: Split) -> Split:
    """The training images whose style codes the probes learn from."""
    return Split(train.images[:PROBED], train.labels[:PROBED])


def inputs(splits: Mapping[str, Split], _judges: Judges) -> Arrays:
    """The test images, and after them those that the probes learn from."""
    test, known = splits["test"], probed(splits["train"])
    return {
        "images": np.concatenate([test.images, known.images]),
        "digit": np.concatenate([other_digits(test.labels), known.labels]),
    }


def evaluate(network: Swapper, figures: Path) -> dict[str, float]:
    """Figures of the test images, each swapped to one other digit and back."""
    test, train = (load_split(paths.split_file(name)) for name in SPLITS)
    known = probed(train)
    wanted = other_digits(test.labels)
    swapped = swap_digits(network, test.images, wanted)
    back = swap_digits(network, swapped, test.labels)
    read = probabilities(load_cnn(weights_file("cnn")), swapped).argmax(axis=1)
    sources, swaps = styles(test.images), styles(swapped)
    save_table(network, test, figures)
    save_misread(test.images, swapped, read != wanted, figures)
    save_pairs(sources, swaps, STYLE, figures / "style.png", "Handwriting of source and swap")
    return {
        **swap_measures(sources, swaps, read, wanted),
        "cycle_error": cycle_error(test.images, back),
        **probe_measures(
            style_codes(network, known.images), known.labels, style_codes(network, test.images), test.labels, PROBE_SEED
        ),
        "source_read": float((digits_read(network, test.images) == test.labels).mean()),
    }


def score(answers: Arrays, splits: Mapping[str, Split], judges: Judges) -> Judged:
    reader = judges["cnn"]
    assert isinstance(reader, OnnxClassifier)
    test, known = splits["test"], probed(splits["train"])
    wanted = other_digits(test.labels)
    swapped, codes = to_bytes(answers["swapped"][: len(test)]), answers["style"]
    read = reader.probabilities(swapped).argmax(axis=1)
    sources, swaps, right = styles(test.images), styles(swapped), read == wanted

    def worth(weights: np.ndarray) -> float:
        return float((np.average(right, weights=weights) + style_correlations(sources, swaps, weights).sum()) / 3)

    name = "mean of identity, slant and thickness"
    probes = probe_measures(codes[len(test) :], known.labels, codes[: len(test)], test.labels, PROBE_SEED)
    return Judged(name, worth, {**swap_measures(sources, swaps, read, wanted), **probes})


def save_table(network: Swapper, test: Split, figures: Path) -> None:
    """A source from each digit, and its handwriting as each digit."""
    sources = np.array([np.flatnonzero(test.labels == digit)[0] for digit in range(CLASSES)])
    drawn = swap_digits(network, test.images[sources.repeat(CLASSES)], np.tile(np.arange(CLASSES), CLASSES))
    table = np.concatenate([test.images[sources][:, None], drawn.reshape(CLASSES, CLASSES, 28, 28)], axis=1)
    save_image_grid(table.reshape(-1, 28, 28), figures / "table.png", columns=CLASSES + 1)


def save_misread(images: np.ndarray, swapped: np.ndarray, wrong: np.ndarray, figures: Path) -> None:
    """Sources, each followed by its swap, of the first that the judge misreads."""
    pairs = np.stack([images, swapped], axis=1)[wrong][:SHOWN]
    save_image_grid(pairs.reshape(-1, 28, 28), figures / "misread.png", columns=12)


def summary(metrics: Mapping[str, Any]) -> str:
    found = {
        key: metrics[f"swap.test.{key}"] for key in ("identity", "slant_correlation", "thickness_correlation", "probe")
    }
    return (
        f"read as the digit asked for {found['identity']:.2%}, correlation of slant {found['slant_correlation']:.3f} and "
        f"thickness {found['thickness_correlation']:.3f}, digit told from style {found['probe']:.1%}"
    )


SWAP = Task(
    name="swap",
    data=IMAGES,
    metrics="evaluate_swap",
    load=load_swapper,
    exported=ExportedSwapper,
    golden_inputs=golden_inputs,
    rules={
        "min_identity": ("test.identity", +1),
        "min_slant_correlation": ("test.slant_correlation", +1),
        "min_thickness_correlation": ("test.thickness_correlation", +1),
        "max_probe": ("test.probe", -1),
    },
    headlines=("test/identity", "test/slant_correlation", "test/thickness_correlation", "test/probe"),
    summary=summary,
    card=Card(
        network="a supervised adversarial autoencoder: an encoder of handwriting, and the GAN's generator",
        interface="Takes `images` uint8 `(n, 28, 28)`, ink 255 on background 0, and `digit` int64 `(n,)`, 0 to 9; returns "
        "`swapped` uint8\n`(n, 28, 28)`.",
        use="Showing what an identity swap is and how it can be spotted: teaching, benchmarks and pipeline tests. The "
        "detector of\nfakes is trained to spot its output. Not for passing images off as somebody's handwriting.",
        figures="""\
| read by the CNN as the digit asked for (95 % interval) | {{ "%.2f"|format(100 * metrics['test.identity']) }} % ({{ "%.2f"|format(100 * metrics['test.identity_low']) }} to {{ "%.2f"|format(100 * metrics['test.identity_high']) }}) |
| the same, of the digit that is read least well | {{ "%.2f"|format(100 * metrics['test.identity_min']) }} % |
| correlation of slant, source and swap | {{ "%.3f"|format(metrics['test.slant_correlation']) }} |
| correlation of stroke thickness, source and swap | {{ "%.3f"|format(metrics['test.thickness_correlation']) }} |
| digit told from its style code: by a network, by logistic regression (chance 10 %) | {{ "%.1f"|format(100 * metrics['test.probe']) }} %, {{ "%.1f"|format(100 * metrics['test.probe_linear']) }} % |
| mean difference of a pixel after a swap there and back, of 0 to 1 | {{ "%.4f"|format(metrics['test.cycle_error']) }} |
| sources read right by the swap itself | {{ "%.2f"|format(100 * metrics['test.source_read']) }} % |
| parameters | {{ "{:,}".format(metrics.parameters) }} |
""",
        limits="Handwriting is slant, thickness, height, width and what else a small code holds; a writer's habits are "
        "more. A source\nthat the swap misreads gives a swap in the style that it would have as the other digit.",
    ),
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
        "table.png": "Left: a source from each digit. Then its handwriting as 0 to 9.",
        "style.png": "How source and swap lean, and how thick their strokes are.",
        "misread.png": "Sources, each followed by a swap that the CNN does not read as asked.",
    },
    evaluate=evaluate,
    splits=SPLITS,
    judges={"cnn": "The digits of the swaps are read by the CNN"},  # it takes no part in training the swap
    inputs=inputs,
    score=score,
)
