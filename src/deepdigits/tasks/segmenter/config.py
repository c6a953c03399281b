"""The `train_segmenter` section of params.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from deepdigits.core.sections import Classes, Positive, Section
from deepdigits.training.config import CycleFit


class SegmenterNet(Section):
    """Not in params.yaml: the widths are the detector's, because the segmenter starts from the detector's backbone.

    `classes` is that of the data, without the background.
    """

    widths: Annotated[tuple[Positive, ...], Field(min_length=3, max_length=3)]
    classes: Classes = 10


class TrainSegmenter(Section):
    fit: CycleFit
