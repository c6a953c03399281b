"""The `ingest` and `validate` sections of params.yaml."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, Field, model_validator

from deepdigits.core.sections import Fraction, PositiveFloat, Section

DatasetName = Literal["mnist", "digits"]


def _require_every_dataset(values: dict[str, Any]) -> dict[str, Any]:
    missing = sorted(set(get_args(DatasetName)) - set(values))
    if missing:
        raise ValueError(f"needs an entry for {', '.join(missing)}")
    return values


T = TypeVar("T")
PerDataset = Annotated[dict[DatasetName, T], AfterValidator(_require_every_dataset)]


class Subset(Section):
    """Number of images to keep from each split, stratified by class; null keeps them all."""

    train: Annotated[int, Field(ge=100)]
    validation: Annotated[int, Field(ge=100)]
    test: Annotated[int, Field(ge=100)]


class Ingest(Section):
    mirrors: tuple[Annotated[str, Field(pattern=r"^https?://\S+$")], ...]
    timeout_seconds: Annotated[float, Field(gt=0, le=600)]
    retries: Annotated[int, Field(ge=0, le=10)]
    offline_fallback: Literal["digits"] | None
    validation_images: PerDataset[Annotated[int, Field(ge=50, le=30_000)]]
    split_seed: Annotated[int, Field(ge=0)]
    subset: Subset | None


class Band(Section):
    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Band:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        return self


class Bands(Section):
    """Normal ranges for one dataset. Pixel values are on the 0 to 255 scale, centres in pixels from the top left."""

    pixel_mean: Band
    pixel_std: Band
    ink_fraction: Band
    image_mean: Band
    center: Band
    class_share: Band
    max_class_shift: PositiveFloat
    min_class_separation: PositiveFloat
    max_label_disagreement: Fraction


class Validate(Section):
    max_off_center_fraction: Fraction
    example_count: Annotated[int, Field(ge=1, le=100)]
    bands: PerDataset[Bands]
