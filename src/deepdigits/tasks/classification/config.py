"""Training settings shared by the classifiers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from deepdigits.core.sections import Fraction, Section
from deepdigits.training.config import CycleFit

Contrast = Literal["local", "image"]


class Augmentation(Section):
    rotate_degrees: Annotated[float, Field(ge=0, le=45)]
    translate_pixels: Annotated[float, Field(ge=0, le=7)]
    scale_fraction: Annotated[float, Field(ge=0, le=0.5)]
    shear_degrees: Annotated[float, Field(ge=0, le=45)]
    textured_fraction: Fraction
    mirror: bool = False


class Fit(CycleFit):
    """Training settings of one classifier."""

    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    augmentation: Augmentation
    balance: Literal["none", "loss", "sampling"] = "none"
