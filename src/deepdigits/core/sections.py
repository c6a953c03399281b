"""Building blocks for the sections of params.yaml."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
DatasetName = Literal["mnist", "digits"]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


def _require_every_dataset(values: dict[str, Any]) -> dict[str, Any]:
    missing = sorted(set(get_args(DatasetName)) - set(values))
    if missing:
        raise ValueError(f"needs an entry for {', '.join(missing)}")
    return values


T = TypeVar("T")
PerDataset = Annotated[dict[DatasetName, T], AfterValidator(_require_every_dataset)]


class Section(BaseModel):
    """A mapping in params.yaml. Unknown keys, wrong types and out-of-range values are rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Compute(Section):
    threads: Annotated[int, Field(ge=1, le=256)]


class StageParams(BaseModel):
    """What a stage reads from params.yaml. Each subclass adds the stage's own sections."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)

    profile: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]
    compute: Compute
