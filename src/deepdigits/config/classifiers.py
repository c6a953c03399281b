"""Sections `train_cnn` and `train_rnn`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from deepdigits.config.fit import CycleFit
from deepdigits.config.sections import Fraction, Positive, Section


class Augmentation(Section):
    rotate_degrees: Annotated[float, Field(ge=0, le=45)]
    translate_pixels: Annotated[float, Field(ge=0, le=7)]
    scale_fraction: Annotated[float, Field(ge=0, le=0.5)]
    shear_degrees: Annotated[float, Field(ge=0, le=45)]
    textured_fraction: Fraction


class CnnNet(Section):
    widths: Annotated[tuple[Positive, ...], Field(min_length=5, max_length=5)]


class RnnNet(Section):
    cell: Literal["gru", "lstm", "s4d"]
    hidden: Annotated[int, Field(ge=1, le=2048)]
    layers: Annotated[int, Field(ge=1, le=8)]
    bidirectional: bool
    dropout: Annotated[float, Field(ge=0, lt=1)]

    @model_validator(mode="after")
    def _causal(self) -> RnnNet:
        if self.cell == "s4d" and (self.bidirectional or self.hidden % 2):
            raise ValueError(
                "cell s4d reads forwards only and halves its width: bidirectional must be false, hidden even"
            )
        return self


class Fit(CycleFit):
    """How one classifier is trained."""

    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    augmentation: Augmentation


class TrainCnn(Section):
    net: CnnNet
    fit: Fit


class TrainRnn(Section):
    net: RnnNet
    fit: Fit
