"""The `evaluate` section of params.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from deepdigits.core.sections import Fraction, Section, Seed
from deepdigits.tasks.classification.config import Fit
from deepdigits.tasks.cnn.config import CnnNet


class Synthetic(Section):
    """The ensemble of classifiers trained only on generated images and tested on real ones."""

    networks: Annotated[int, Field(ge=1, le=20)]
    images: Annotated[int, Field(ge=1000, le=1_000_000)]
    net: CnnNet
    fit: Fit


class FreshDiscriminator(Section):
    """The new discriminator, trained from scratch on images the GAN has not seen."""

    steps: Annotated[int, Field(ge=1, le=1_000_000)]
    batch_size: Annotated[int, Field(ge=2, le=8192)]
    learning_rate: Annotated[float, Field(gt=0, le=1)]


class Evaluate(Section):
    calibration_bins: Annotated[int, Field(ge=2, le=100)]
    worst_mistakes: Annotated[int, Field(ge=1, le=100)]
    explained_mistakes: Annotated[int, Field(ge=1, le=20)]
    fgsm_epsilons: Annotated[tuple[Fraction, ...], Field(min_length=1, max_length=20)]
    disputed_confidence: Fraction
    gan_samples: Annotated[int, Field(ge=100, le=50_000)]
    neighbours: Annotated[int, Field(ge=1, le=50)]
    synthetic: Synthetic
    fresh_discriminator: FreshDiscriminator
    seed: Seed
