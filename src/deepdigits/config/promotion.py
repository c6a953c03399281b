"""Section `promotion`: when a candidate takes the champion's place."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from deepdigits.config.sections import Section

Margin = Annotated[float, Field(ge=0, le=0.5)]


class GeneratorRule(Section):
    bootstrap_rounds: Annotated[int, Field(ge=20, le=10_000)]
    fid_margin: Margin
    coverage_margin: Margin


class PairedRule(Section):
    bootstrap_rounds: Annotated[int, Field(ge=20, le=10_000)]
    margin: Margin


class Promotion(Section):
    alpha: Annotated[float, Field(gt=0, lt=0.5)]
    accuracy_margin: Margin
    cheaper_share: Annotated[float, Field(gt=0, le=1)]
    max_class_drop: Margin
    generator: GeneratorRule
    paired: PairedRule
