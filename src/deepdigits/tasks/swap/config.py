"""The `train_swap` section of params.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from deepdigits.core.sections import Positive, Section
from deepdigits.tasks.gan.config import GanNet
from deepdigits.training.config import CycleFit

Weight = Annotated[float, Field(ge=0)]


class SwapNet(Section):
    gan: GanNet  # its generator draws swaps from a style code instead of noise
    levels: Annotated[int, Field(ge=3, le=255)]
    encoder_widths: Annotated[tuple[Positive, ...], Field(min_length=3, max_length=3)]

    @field_validator("levels")
    @classmethod
    def _has_a_middle(cls, levels: int) -> int:
        if levels % 2 == 0:
            raise ValueError("must be odd, so that 0 is one of the levels")
        return levels


class SwapWeights(Section):
    pixels: Weight
    identity: Weight
    realism: Weight
    style: Weight
    secrecy: Weight


class TrainSwap(Section):
    net: SwapNet
    fit: CycleFit
    weights: SwapWeights
