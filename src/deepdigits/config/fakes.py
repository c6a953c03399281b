"""Section `train_fakes`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from deepdigits.config.fit import CycleFit
from deepdigits.config.sections import Positive, Section


class FakesNet(Section):
    widths: Annotated[tuple[Positive, ...], Field(min_length=4, max_length=4)]


class TrainFakes(Section):
    net: FakesNet
    fit: CycleFit
