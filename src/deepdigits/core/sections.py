"""Building blocks for the sections of params.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Classes = Annotated[int, Field(ge=2, le=1000)]


class Section(BaseModel):
    """A mapping in params.yaml. Unknown keys, wrong types and out-of-range values are rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Compute(Section):
    """`shards`, `device` and `precision` are those of training; everything else runs on the CPU in single precision."""

    threads: Annotated[int, Field(ge=1, le=256)]
    shards: Annotated[int, Field(ge=1, le=64)]
    device: Literal["cpu", "cuda"]
    precision: Literal["32", "bf16-mixed"]

    @model_validator(mode="after")
    def _mixed_on_gpu(self) -> Compute:
        if self.precision != "32" and self.device == "cpu":
            raise ValueError('precision bf16-mixed needs device: cuda; the CPU trains in "32"')
        return self


class StageParams(BaseModel):
    """What a stage reads from params.yaml. Each subclass adds the stage's own sections."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)

    profile: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]
    compute: Compute
