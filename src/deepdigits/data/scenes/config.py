"""The `compose` section of params.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from deepdigits.core.sections import Fraction, Section, Seed


class SceneCounts(Section):
    """Number of scenes to compose from the digits of each split.

    `stress` scenes use digits of the test split; only the detector is evaluated on them.
    """

    train: Annotated[int, Field(ge=50, le=200_000)]
    validation: Annotated[int, Field(ge=20, le=50_000)]
    test: Annotated[int, Field(ge=20, le=50_000)]
    stress: Annotated[int, Field(ge=10, le=10_000)]


class Digits(Section):
    """The number of digits in a scene."""

    least: Annotated[int, Field(ge=1, le=32)]
    most: Annotated[int, Field(ge=1, le=32)]

    @model_validator(mode="after")
    def _ordered(self) -> Digits:
        if self.least > self.most:
            raise ValueError(f"least ({self.least}) must not be above most ({self.most})")
        return self


class Scale(Section):
    """The size of a digit relative to its size in MNIST."""

    smallest: Annotated[float, Field(ge=0.5, le=6)]
    largest: Annotated[float, Field(ge=0.5, le=6)]

    @model_validator(mode="after")
    def _ordered(self) -> Scale:
        if self.smallest > self.largest:
            raise ValueError(f"smallest ({self.smallest}) must not be above largest ({self.largest})")
        return self


class SceneStyle(Section):
    """The appearance of a scene. `size` is in pixels, brightness in [0, 1]."""

    size: Annotated[int, Field(ge=64, le=512, multiple_of=4)]
    digits: Digits
    scale: Scale
    rotate_degrees: Annotated[float, Field(ge=0, le=45)]
    max_overlap: Fraction
    faintest_ink: Annotated[float, Field(ge=0.3, le=1)]
    brightest_background: Annotated[float, Field(ge=0, le=0.5)]
    fragments: Annotated[int, Field(ge=0, le=100)]
    noise: Annotated[float, Field(ge=0, le=0.5)]


class Compose(Section):
    scenes: SceneCounts
    style: SceneStyle
    stress: SceneStyle
    seed: Seed
