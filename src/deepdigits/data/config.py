"""The `ingest` and `validate` sections of params.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from deepdigits.core.sections import Fraction, Section


class Subset(Section):
    """Number of images to keep from each split, stratified by class; null keeps them all."""

    train: Annotated[int, Field(ge=100)]
    validation: Annotated[int, Field(ge=100)]
    test: Annotated[int, Field(ge=100)]


class Ingest(Section):
    timeout_seconds: Annotated[float, Field(gt=0, le=600)]
    retries: Annotated[int, Field(ge=0, le=10)]
    subset: Subset | None


class Validate(Section):
    max_off_center_fraction: Fraction
    example_count: Annotated[int, Field(ge=1, le=100)]
