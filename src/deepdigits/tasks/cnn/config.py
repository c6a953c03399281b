"""The `train_cnn` section of params.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from deepdigits.core.sections import Classes, Positive, Section
from deepdigits.tasks.classification.config import Contrast, Fit


class CnnNet(Section):
    """`classes` is that of the data."""

    widths: Annotated[tuple[Positive, ...], Field(min_length=5, max_length=5)]
    contrast: Contrast = "local"
    classes: Classes = 10


class TrainCnn(Section):
    net: CnnNet
    fit: Fit
