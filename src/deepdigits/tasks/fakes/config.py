"""The `train_fakes` section of params.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from deepdigits.core.sections import Positive, Section
from deepdigits.training.config import CycleFit


class FakesNet(Section):
    widths: Annotated[tuple[Positive, ...], Field(min_length=4, max_length=4)]


class TrainFakes(Section):
    net: FakesNet
    fit: CycleFit
