"""Evaluation of the GAN: compare its samples with test images of the same digits."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deepdigits.core import paths
from deepdigits.core.measures import weights_file
from deepdigits.core.statistics import auc
from deepdigits.data.digits.splits import Split, first_of_each_class, load_split, subset
from deepdigits.plotting.figures import save_image_grid
from deepdigits.tasks.classification.inference import probabilities
from deepdigits.tasks.cnn.network import features, load_cnn
from deepdigits.tasks.config import Evaluate
from deepdigits.tasks.evaluation import IMAGES, Evaluation
from deepdigits.tasks.gan.fresh import fresh_discriminator
from deepdigits.tasks.gan.metrics import (
    agreement_measures,
    feature_measures,
    fool_rate,
    pixel_measures,
    synthetic_measures,
)
from deepdigits.tasks.gan.network import (
    Generator,
    draw_images,
    generate,
    interpolated_noise,
    load_discriminator,
    load_generator,
    scores,
)
from deepdigits.tasks.gan.synthesis import classifier_of_generated

DISCRIMINATOR = paths.MODELS / "gan" / "discriminator.safetensors"
SPLITS = ("test", "validation", "train")


def evaluate(generator: Generator, figures: Path, config: Evaluate) -> dict[str, float]:
    """Compare generated with test images of the same digits; validation against test images gives the FID floor."""
    splits = {name: load_split(paths.split_file(name)) for name in SPLITS}
    cnn = load_cnn(weights_file("cnn"))
    real, other = comparable(splits, config)
    draw = partial(draw_images, generator)
    fake = Split(draw(real.labels, config.seed), real.labels)
    _save_figures(generator, real, fake.images, figures, config.seed)
    in_real, in_other, in_fake = (features(cnn, split.images) for split in (real, other, fake))
    trained_on_fake = classifier_of_generated(draw, config.synthetic, generator.classes)
    return {
        "samples": len(real),
        **feature_measures(in_real, in_other, in_fake, config.neighbours),
        **pixel_measures(real, fake, splits["train"].images),
        **agreement_measures(_read(cnn, fake), fake.labels),
        **_discriminated(generator, splits["validation"], real, fake, config),
        **synthetic_measures(_read(trained_on_fake, splits["test"]), splits["test"].labels),
    }


def comparable(splits: Mapping[str, Split], config: Evaluate) -> list[Split]:
    """Equally many test and validation images, as many as there will be samples."""
    size = min(config.gan_samples, len(splits["validation"]), len(splits["test"]))
    return [subset(splits[name], size, config.seed) for name in ("test", "validation")]


def summary(measures: Mapping[str, Any]) -> str:
    return (
        f"FID {measures['fid']:.3f} (real vs. real {measures['fid_floor']:.3f}), "
        f"coverage {measures['coverage']:.3f}, correct digit {measures['class_accuracy']:.2%}"
    )


def _read(network: nn.Module, split: Split) -> np.ndarray:
    """The digits that a classifier predicts, `(n,)`."""
    return np.asarray(probabilities(network, split.images).argmax(axis=1))


def _discriminated(
    generator: Generator, validation: Split, real: Split, fake: Split, config: Evaluate
) -> dict[str, float]:
    """How well the discriminator from GAN training, and a new one trained on validation images, tell real from fake."""

    def draw(digits: Tensor, random: torch.Generator) -> Tensor:
        samples: Tensor = generator(torch.randn(len(digits), generator.noise_dim, generator=random), digits)
        return samples

    own = load_discriminator(DISCRIMINATOR)
    fresh = fresh_discriminator(own.config, draw, validation, config.fresh_discriminator, config.seed)
    by_own, by_fresh = (
        {"real": scores(network, real.images, real.labels), "fake": scores(network, fake.images, fake.labels)}
        for network in (own, fresh)
    )
    return {
        "fool_rate": fool_rate(**by_own),
        "fool_rate_fresh": fool_rate(**by_fresh),
        "auc_fresh": auc(by_fresh["fake"], by_fresh["real"]),
    }


def _save_figures(generator: Generator, real: Split, fake: np.ndarray, figures: Path, seed: int) -> None:
    """Save ten samples and ten real images of each digit, and an interpolation between two noise vectors per digit."""
    for name, images in (("samples", fake), ("real_samples", real.images)):
        save_image_grid(first_of_each_class(images, real.labels, 10), figures / f"{name}.png", columns=10)
    noise, digits = interpolated_noise(generator, steps=10, seed=seed)
    save_image_grid(generate(generator, noise, digits), figures / "interpolation.png", columns=10)


EVALUATION = Evaluation(
    "gan",
    IMAGES,
    load_generator,
    evaluate,
    summary,
    judges={"cnn": "FID, coverage and the predicted digits come from the CNN"},
)
