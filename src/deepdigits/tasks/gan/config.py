"""The `train_gan` section of params.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from deepdigits.core.sections import Classes, Fraction, Positive, Section, Seed


class GanNet(Section):
    """`classes` is that of the data."""

    noise_dim: Positive
    generator_widths: Annotated[tuple[Positive, ...], Field(min_length=2, max_length=2)]
    discriminator_widths: Annotated[tuple[Positive, ...], Field(min_length=4, max_length=4)]
    classes: Classes = 10


class GanStop(Section):
    fool_rate: Fraction
    diversity: Annotated[float, Field(ge=0)]


class TrainGan(Section):
    net: GanNet
    stop: GanStop
    max_epochs: Annotated[int, Field(ge=1, le=1000)]
    steps_per_epoch: Annotated[int, Field(ge=1, le=1_000_000)]
    batch_size: Annotated[int, Field(ge=2, le=8192)]
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    r1_gamma: Annotated[float, Field(ge=0)]
    r1_every: Positive
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    samples_per_class: Annotated[int, Field(ge=10, le=10_000)]
    seed: Seed
