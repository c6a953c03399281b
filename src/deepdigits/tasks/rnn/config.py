"""The `train_rnn` section of params.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from deepdigits.core.sections import Classes, Section
from deepdigits.tasks.classification.config import Contrast, Fit


class RnnNet(Section):
    """`classes` is that of the data."""

    cell: Literal["gru", "lstm", "s4d"]
    hidden: Annotated[int, Field(ge=1, le=2048)]
    layers: Annotated[int, Field(ge=1, le=8)]
    bidirectional: bool
    dropout: Annotated[float, Field(ge=0, lt=1)]
    reads: Literal["rows", "columns"] = "rows"
    contrast: Contrast = "local"
    classes: Classes = 10

    @model_validator(mode="after")
    def _pixels(self) -> RnnNet:
        if self.cell == "s4d" and (self.bidirectional or self.hidden % 2):
            raise ValueError(
                "cell s4d only reads forwards and halves its width: bidirectional must be false, and hidden even"
            )
        if self.cell == "s4d" and (self.reads, self.contrast) != ("rows", "local"):
            raise ValueError("cell s4d reads single pixels: leave reads at rows and contrast at local")
        return self


class TrainRnn(Section):
    net: RnnNet
    fit: Fit
