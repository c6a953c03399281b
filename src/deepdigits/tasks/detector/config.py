"""The `train_detector` section of params.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from deepdigits.core.sections import Classes, Fraction, Positive, Section
from deepdigits.training.config import CycleFit


class DetectorNet(Section):
    """`classes` is that of the data."""

    widths: Annotated[tuple[Positive, ...], Field(min_length=3, max_length=3)]
    max_detections: Annotated[int, Field(ge=1, le=300)]
    nms_iou: Fraction
    classes: Classes = 10


class TrainDetector(Section):
    net: DetectorNet
    fit: CycleFit
