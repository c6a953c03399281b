"""Training settings of the supervised networks and the swap."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from deepdigits.core.sections import Section, Seed


class CycleFit(Section):
    epochs: Annotated[int, Field(ge=1, le=1000)]
    steps_per_epoch: Annotated[int, Field(ge=1, le=1_000_000)]
    batch_size: Annotated[int, Field(ge=2, le=8192)]
    max_learning_rate: Annotated[float, Field(gt=0, le=10)]
    weight_decay: Annotated[float, Field(ge=0, le=1)]
    gradient_clip: Annotated[float, Field(ge=0)]
    seed: Seed
