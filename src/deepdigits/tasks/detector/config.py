"""The `train_detector` section of params.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from deepdigits.core.sections import Fraction, Positive, Section
from deepdigits.training.config import CycleFit


class DetectorNet(Section):
    widths: Annotated[tuple[Positive, ...], Field(min_length=3, max_length=3)]
    max_detections: Annotated[int, Field(ge=1, le=300)]
    nms_iou: Fraction


class TrainDetector(Section):
    net: DetectorNet
    fit: CycleFit
