"""Evaluation of the CNN."""

from __future__ import annotations

from pathlib import Path

import torch

from deepdigits.core import paths
from deepdigits.data.digits.splits import first_of_each_class, load_split
from deepdigits.nn.prediction import to_unit
from deepdigits.plotting.plots import save_convolution
from deepdigits.tasks.classification.evaluation import evaluate_classifier, summary
from deepdigits.tasks.cnn.network import Cnn, load_cnn
from deepdigits.tasks.config import Evaluate
from deepdigits.tasks.evaluation import IMAGES, Evaluation

SHOWN = 2  # class


def evaluate(network: Cnn, figures: Path, config: Evaluate) -> dict[str, float]:
    """Compute the measures of a classifier, and plot what the first layer has learned."""
    test = load_split(paths.split_file("test"))
    shown = first_of_each_class(test.images, test.labels, 1)
    digit = shown[min(SHOWN, len(shown) - 1)]
    with torch.inference_mode():
        kernels, maps = network.first_layer(to_unit(torch.from_numpy(digit[None])))
    save_convolution(digit, kernels.detach().numpy(), maps[0].numpy(), figures / "first_layer.png")
    return evaluate_classifier("cnn", network, figures, config)


EVALUATION = Evaluation("cnn", IMAGES, load_cnn, evaluate, summary)
