"""Evaluation of the identity swap."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepdigits.core import paths
from deepdigits.core.measures import weights_file
from deepdigits.core.statistics import auc
from deepdigits.data.digits.splits import Split, load_split
from deepdigits.nn.prediction import to_unit
from deepdigits.plotting.figures import save_image_grid
from deepdigits.plotting.plots import save_pairs
from deepdigits.tasks.classification.inference import probabilities
from deepdigits.tasks.cnn.network import load_cnn
from deepdigits.tasks.config import Evaluate
from deepdigits.tasks.evaluation import IMAGES, Evaluation
from deepdigits.tasks.gan.fresh import fresh_discriminator
from deepdigits.tasks.gan.network import scores
from deepdigits.tasks.swap.handwriting import strokes
from deepdigits.tasks.swap.metrics import cycle_error, probe_measures, styles, swap_measures
from deepdigits.tasks.swap.network import Swapper, digits_read, load_swapper, other_digits, style_codes, swap_digits

SHOWN = 60  # misread swaps per figure
STYLE = ("slant, radians", "thickness, pixels")
SPLITS = ("test", "validation", "train")
PROBE_SEED = 0
PROBED = 20_000  # training images whose style codes the probes learn from


def evaluate(network: Swapper, figures: Path, config: Evaluate) -> dict[str, float]:
    """Compute the measures on the test images, each swapped to one other digit and back."""
    test, validation, train = (load_split(paths.split_file(name)) for name in SPLITS)
    known = probed(train)
    wanted = other_digits(test.labels, network.config.gan.classes)
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
        **strokes(swapped),
        **{f"{name}_real": value for name, value in strokes(test.images).items()},
        "auc_fresh": _fresh_auc(network, validation, test, Split(swapped, wanted), config),
    }


def probed(train: Split) -> Split:
    """The training images whose style codes the probes learn from."""
    return Split(train.images[:PROBED], train.labels[:PROBED])


def _fresh_auc(network: Swapper, validation: Split, real: Split, swapped: Split, config: Evaluate) -> float:
    """How well a new discriminator, trained on validation images and their swaps, tells test images from theirs."""
    sources = to_unit(torch.from_numpy(validation.images))

    def draw(digits: Tensor, random: torch.Generator) -> Tensor:
        swaps: Tensor = network(sources[torch.randint(len(sources), digits.shape, generator=random)], digits)
        return swaps

    fresh = fresh_discriminator(network.config.gan, draw, validation, config.fresh_discriminator, config.seed)
    return auc(*(scores(fresh, split.images, split.labels) for split in (swapped, real)))


def summary(measures: Mapping[str, Any]) -> str:
    return (
        f"read as the requested digit {measures['identity']:.2%}, correlation of slant "
        f"{measures['slant_correlation']:.3f} and thickness {measures['thickness_correlation']:.3f}, "
        f"digit predicted from style {measures['probe']:.1%}"
    )


def save_table(network: Swapper, test: Split, figures: Path) -> None:
    """Save one source per digit, and that source's handwriting as every digit."""
    classes = network.config.gan.classes
    sources = np.array([np.flatnonzero(test.labels == digit)[0] for digit in range(classes)])
    drawn = swap_digits(network, test.images[sources.repeat(classes)], np.tile(np.arange(classes), classes))
    table = np.concatenate([test.images[sources][:, None], drawn.reshape(classes, classes, 28, 28)], axis=1)
    save_image_grid(table.reshape(-1, 28, 28), figures / "table.png", columns=classes + 1)


def save_misread(images: np.ndarray, swapped: np.ndarray, wrong: np.ndarray, figures: Path) -> None:
    """Save the first swaps that the judge misreads, each preceded by its source."""
    pairs = np.stack([images, swapped], axis=1)[wrong][:SHOWN]
    save_image_grid(pairs.reshape(-1, 28, 28), figures / "misread.png", columns=12)


EVALUATION = Evaluation(
    "swap",
    IMAGES,
    load_swapper,
    evaluate,
    summary,
    judges={"cnn": "The digits of the swaps are read by the CNN"},  # which takes no part in training the swap
)
