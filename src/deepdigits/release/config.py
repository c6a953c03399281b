"""The sections `package` and `promotion` of params.yaml, and `floors` of datasets/NAME.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from deepdigits.core.sections import Fraction, PositiveFloat, Section

Correlation = Annotated[float, Field(ge=-1, le=1)]
Margin = Annotated[float, Field(ge=0, le=0.5)]


class ClassifierFloor(Section):
    min_accuracy: Fraction | None = None
    min_class_recall: Fraction | None = None
    max_calibration_error: Fraction | None = None
    min_corrupted_accuracy: Fraction | None = None
    min_balanced_accuracy: Fraction | None = None
    min_macro_f1: Fraction | None = None
    min_roc_auc: Fraction | None = None
    min_average_precision: Fraction | None = None


class GanFloor(Section):
    max_fid_ratio: PositiveFloat | None = None
    min_coverage: Fraction | None = None
    min_diversity: Annotated[float, Field(ge=0)] | None = None
    min_class_accuracy: Fraction | None = None
    min_synthetic_accuracy: Fraction | None = None
    min_novelty: Annotated[float, Field(ge=0)] | None = None


class DetectorFloor(Section):
    min_map: Fraction | None = None
    min_map_50: Fraction | None = None
    min_count_accuracy: Fraction | None = None


class SegmenterFloor(Section):
    min_miou: Fraction | None = None
    min_boundary_f1: Fraction | None = None


class SwapFloor(Section):
    min_identity: Fraction | None = None
    min_slant_correlation: Correlation | None = None
    min_thickness_correlation: Correlation | None = None
    max_probe: Fraction | None = None


class FakesFloor(Section):
    min_auc: Fraction | None = None
    min_auc_generated: Fraction | None = None
    min_auc_swapped: Fraction | None = None


class Floors(Section):
    """The floors of each model. A model without floors is packaged whatever its figures are."""

    cnn: ClassifierFloor = ClassifierFloor()
    rnn: ClassifierFloor = ClassifierFloor()
    gan: GanFloor = GanFloor()
    detector: DetectorFloor = DetectorFloor()
    segmenter: SegmenterFloor = SegmenterFloor()
    swap: SwapFloor = SwapFloor()
    fakes: FakesFloor = FakesFloor()


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
