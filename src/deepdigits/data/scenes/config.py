"""Section `compose`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from deepdigits.core.sections import Fraction, Section, Seed


class SceneCounts(Section):
    """Scenes composed of each split's digits; those of `stress`, which only the detector is tried on, of test's."""

    train: Annotated[int, Field(ge=50, le=200_000)]
    validation: Annotated[int, Field(ge=20, le=50_000)]
    test: Annotated[int, Field(ge=20, le=50_000)]
    stress: Annotated[int, Field(ge=10, le=10_000)]


class Digits(Section):
    """How many digits a scene has."""

    least: Annotated[int, Field(ge=1, le=32)]
    most: Annotated[int, Field(ge=1, le=32)]

    @model_validator(mode="after")
    def _ordered(self) -> Digits:
        if self.least > self.most:
            raise ValueError(f"least ({self.least}) must not be above most ({self.most})")
        return self


class Scale(Section):
    """Size of a digit over that in MNIST."""

    smallest: Annotated[float, Field(ge=0.5, le=6)]
    largest: Annotated[float, Field(ge=0.5, le=6)]

    @model_validator(mode="after")
    def _ordered(self) -> Scale:
        if self.smallest > self.largest:
            raise ValueError(f"smallest ({self.smallest}) must not be above largest ({self.largest})")
        return self


class SceneStyle(Section):
    """What a scene looks like. Size in pixels, brightness of pixels in 0 to 1."""

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
