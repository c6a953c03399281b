"""The sections `package`, `gates` and `promotion` of params.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from deepdigits.core.sections import Fraction, PositiveFloat, Section

Correlation = Annotated[float, Field(ge=-1, le=1)]
Margin = Annotated[float, Field(ge=0, le=0.5)]


class ClassifierFloor(Section):
    min_accuracy: Fraction
    min_class_recall: Fraction
    max_calibration_error: Fraction
    min_corrupted_accuracy: Fraction


class GanFloor(Section):
    max_fid_ratio: PositiveFloat
    min_coverage: Fraction
    min_diversity: Annotated[float, Field(ge=0)]
    min_class_accuracy: Fraction
    min_synthetic_accuracy: Fraction
    min_novelty: Annotated[float, Field(ge=0)]


class DetectorFloor(Section):
    min_map: Fraction
    min_map_50: Fraction
    min_count_accuracy: Fraction


class SegmenterFloor(Section):
    min_miou: Fraction
    min_boundary_f1: Fraction


class SwapFloor(Section):
    min_identity: Fraction
    min_slant_correlation: Correlation
    min_thickness_correlation: Correlation
    max_probe: Fraction


class FakesFloor(Section):
    min_auc: Fraction
    min_auc_generated: Fraction
    min_auc_swapped: Fraction


class DatasetGates(Section):
    cnn: ClassifierFloor
    rnn: ClassifierFloor
    gan: GanFloor
    detector: DetectorFloor
    segmenter: SegmenterFloor
    swap: SwapFloor
    fakes: FakesFloor


class Package(Section):
    golden_examples: Annotated[int, Field(ge=2, le=1000)]
    onnx_tolerance: Annotated[float, Field(gt=0, le=0.01)]


class GeneratorRule(Section):
    bootstrap_rounds: Annotated[int, Field(ge=20, le=10_000)]
    fid_margin: Margin
    coverage_margin: Margin


class PairedRule(Section):
    bootstrap_rounds: Annotated[int, Field(ge=20, le=10_000)]
    margin: Margin


class Promotion(Section):
    """When a candidate replaces the champion."""

    alpha: Annotated[float, Field(gt=0, lt=0.5)]
    accuracy_margin: Margin
    cheaper_share: Annotated[float, Field(gt=0, le=1)]
    max_class_drop: Margin
    generator: GeneratorRule
    paired: PairedRule
