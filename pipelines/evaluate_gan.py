"""The part of `evaluate` that judges the GAN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from deepdigits import paths
from deepdigits.config.evaluation import Evaluate
from deepdigits.data.splits import Split, subset
from deepdigits.evaluation.classification import wilson_interval
from deepdigits.evaluation.figures import save_image_grid
from deepdigits.evaluation.generative import (
    diversity,
    first_of_each_class,
    fool_rate,
    frechet_distance,
    manifold_metrics,
    nearest_distances,
)
from deepdigits.inference import features, probabilities
from deepdigits.models.cnn import Cnn
from deepdigits.models.gan import Discriminator, Generator, generate, interpolated_noise, scores
from deepdigits.synthesis import classifier_of_generated, draw_split, fresh_discriminator


def evaluate_gan(
    generator: Generator, discriminator: Discriminator, cnn: Cnn, splits: Mapping[str, Split], config: Evaluate
) -> dict[str, Any]:
    """Compare generated with test images of the same digits, and validation with test images as the floor."""
    validation, test = splits["validation"], splits["test"]
    size = min(config.gan_samples, len(validation), len(test))
    real, other = (subset(split, size, config.seed) for split in (test, validation))
    fake = draw_split(generator, real.labels, config.seed)
    save_gan_figures(generator, real, fake.images, config.seed)
    return {
        "gan.samples": size,
        **compare_features(cnn, real, other, fake, config.neighbours),
        **compare_pixels(real, fake, splits["train"].images),
        **read_digits(cnn, fake),
        **fool(generator, discriminator, validation, real, fake, config),
        **train_on_generated(generator, test, config),
    }


def compare_features(cnn: Cnn, real: Split, other: Split, fake: Split, neighbours: int) -> dict[str, float]:
    """Distances in the last hidden layer of the evaluated CNN."""
    in_real, in_other, in_fake = (features(cnn, split.images) for split in (real, other, fake))
    fid, floor = frechet_distance(in_real, in_fake), frechet_distance(in_real, in_other)
    manifold = asdict(manifold_metrics(in_real, in_fake, neighbours))
    return {"gan.fid": fid, "gan.fid_floor": floor, "gan.fid_ratio": fid / floor} | {
        f"gan.{key}": value for key, value in manifold.items()
    }


def compare_pixels(real: Split, fake: Split, train: np.ndarray) -> dict[str, float]:
    """Variety inside each class, and whether samples are closer to training images than real test images are."""
    varied = diversity(fake.images, real.labels) / diversity(real.images, real.labels)
    nearest_fake, nearest_real = (nearest_distances(split.images, train) for split in (fake, real))
    return {
        "gan.diversity": float(varied.mean()),
        "gan.diversity_min": float(varied.min()),
        "gan.novelty": float(np.median(nearest_fake) / np.median(nearest_real)),
        "gan.novelty_lowest_percent": float(np.quantile(nearest_fake, 0.01) / np.quantile(nearest_real, 0.01)),
    }


def read_digits(cnn: Cnn, fake: Split) -> dict[str, float]:
    """How often the CNN reads the digit that was asked for."""
    right = probabilities(cnn, fake.images).argmax(axis=1) == fake.labels
    low, high = wilson_interval(int(right.sum()), len(right))
    return {
        "gan.class_accuracy": float(right.mean()),
        "gan.class_accuracy_low": low,
        "gan.class_accuracy_high": high,
        "gan.class_accuracy_min": min(float(right[fake.labels == digit].mean()) for digit in range(10)),
    }


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


def train_on_generated(generator: Generator, test: Split, config: Evaluate) -> dict[str, float]:
    """The classification accuracy score: trained on generated, tested on real images."""
    network = classifier_of_generated(generator, config.synthetic)
    right = int((probabilities(network, test.images).argmax(axis=1) == test.labels).sum())
    low, high = wilson_interval(right, len(test))
    return {
        "gan.synthetic_accuracy": right / len(test),
        "gan.synthetic_accuracy_low": low,
        "gan.synthetic_accuracy_high": high,
    }


def save_gan_figures(generator: Generator, real: Split, fake: np.ndarray, seed: int) -> None:
    """Ten samples of each digit beside ten real images, and a walk between two noises for each digit."""
    for name, images in (("gan_samples", fake), ("real_samples", real.images)):
        save_image_grid(first_of_each_class(images, real.labels, 10), paths.FIGURES / f"{name}.png", columns=10)
    noise, digits = interpolated_noise(generator.noise_dim, steps=10, seed=seed)
    save_image_grid(generate(generator, noise, digits), paths.FIGURES / "gan_interpolation.png", columns=10)
