"""The part of `evaluate` that judges the GAN."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from deepdigits.core import paths
from deepdigits.data.digits.splits import Split, subset
from deepdigits.plotting.figures import save_image_grid
from deepdigits.tasks.classification.inference import probabilities
from deepdigits.tasks.cnn.network import Cnn, features
from deepdigits.tasks.config import Evaluate
from deepdigits.tasks.gan.evaluation import (
    agreement_measures,
    feature_measures,
    pixel_measures,
    synthetic_measures,
)
from deepdigits.tasks.gan.metrics import first_of_each_class, fool_rate
from deepdigits.tasks.gan.network import Discriminator, Generator, draw_images, generate, interpolated_noise, scores
from deepdigits.tasks.gan.synthesis import classifier_of_generated, fresh_discriminator


def evaluate_gan(
    generator: Generator, discriminator: Discriminator, cnn: Cnn, splits: Mapping[str, Split], config: Evaluate
) -> dict[str, Any]:
    """Compare generated with test images of the same digits, and validation with test images as the floor."""
    validation, test = splits["validation"], splits["test"]
    size = min(config.gan_samples, len(validation), len(test))
    real, other = (subset(split, size, config.seed) for split in (test, validation))
    draw = partial(draw_images, generator)
    fake = Split(draw(real.labels, config.seed), real.labels)
    save_gan_figures(generator, real, fake.images, config.seed)
    in_real, in_other, in_fake = (features(cnn, split.images) for split in (real, other, fake))
    trained_on_fake = classifier_of_generated(draw, config.synthetic)
    return {
        "gan.samples": size,
        **feature_measures(in_real, in_other, in_fake, config.neighbours),
        **pixel_measures(real, fake, splits["train"].images),
        **agreement_measures(read(cnn, fake), fake.labels),
        **fool(generator, discriminator, validation, real, fake, config),
        **synthetic_measures(read(trained_on_fake, test), test.labels),
    }


def read(network: nn.Module, split: Split) -> np.ndarray:
    """The digits that a classifier sees, `(n,)`."""
    return np.asarray(probabilities(network, split.images).argmax(axis=1))


def fool(
    generator: Generator, discriminator: Discriminator, validation: Split, real: Split, fake: Split, config: Evaluate
) -> dict[str, float]:
    """The fool rate of training's own discriminator, and of one trained anew on validation images."""
    judge = fresh_discriminator(discriminator.config, generator, validation, config.fresh_discriminator, config.seed)
    rates = [
        fool_rate(scores(network, real.images, real.labels), scores(network, fake.images, fake.labels))
        for network in (discriminator, judge)
    ]
    return {"gan.fool_rate": rates[0], "gan.fool_rate_fresh": rates[1]}


def save_gan_figures(generator: Generator, real: Split, fake: np.ndarray, seed: int) -> None:
    """Ten samples of each digit beside ten real images, and a walk between two noises for each digit."""
    for name, images in (("gan_samples", fake), ("real_samples", real.images)):
        save_image_grid(first_of_each_class(images, real.labels, 10), paths.FIGURES / f"{name}.png", columns=10)
    noise, digits = interpolated_noise(generator.noise_dim, steps=10, seed=seed)
    save_image_grid(generate(generator, noise, digits), paths.FIGURES / "gan_interpolation.png", columns=10)
