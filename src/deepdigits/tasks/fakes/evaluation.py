"""How the detector of fakes is evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepdigits.core import paths
from deepdigits.data.digits.splits import load_split
from deepdigits.plotting.figures import save_image_grid
from deepdigits.plotting.plots import save_curves
from deepdigits.tasks.config import Evaluate
from deepdigits.tasks.evaluation import IMAGES, Evaluation
from deepdigits.tasks.fakes.make_fakes import real_and_fake
from deepdigits.tasks.fakes.metrics import auc, fakes_measures, roc
from deepdigits.tasks.fakes.network import FakesDetector, fake_probabilities, load_fakes_detector

SEED = 0  # of the noise that test fakes are drawn from; training has others
SHOWN = 60  # images in a picture


def evaluate(network: FakesDetector, figures: Path, _config: Evaluate) -> dict[str, float]:
    """Figures of the test images and as many fakes; the ROC, and the pictures that are misjudged most surely."""
    images, is_fake = real_and_fake(load_split(paths.split_file("test")), SEED)
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


def summary(measures: Mapping[str, Any]) -> str:
    return (
        f"area under the ROC curve {measures['auc']:.4f} (drawn from noise {measures['auc_generated']:.4f}, swapped "
        f"{measures['auc_swapped']:.4f}), found at 1 % false alarms {measures['found_at_1_percent']:.2%}"
    )


EVALUATION = Evaluation(
    "fakes",
    IMAGES,
    load_fakes_detector,
    evaluate,
    summary,
    judges={"gan": "Fakes drawn from noise are by the GAN", "swap": "Swapped fakes are by the swap"},
)
