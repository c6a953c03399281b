"""The absolute floors: a model below one is not packaged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deepdigits.config.release import ClassifierFloor, DatasetGates, GanFloor

# floor in params.yaml: (metric in evaluate.json, +1 where more is better)
CLASSIFIER_RULES = {
    "min_accuracy": ("test.accuracy", +1),
    "min_class_recall": ("test.min_class_recall", +1),
    "max_calibration_error": ("test.ece", -1),
    "min_corrupted_accuracy": ("test.corrupted_mean", +1),
}
GAN_RULES = {
    "max_fid_ratio": ("fid_ratio", -1),
    "min_coverage": ("coverage", +1),
    "min_diversity": ("diversity_min", +1),
    "min_class_accuracy": ("class_accuracy", +1),
    "min_synthetic_accuracy": ("synthetic_accuracy", +1),
    "min_novelty": ("novelty", +1),
}
RULES = {"cnn": CLASSIFIER_RULES, "rnn": CLASSIFIER_RULES, "gan": GAN_RULES}


def check_gates(metrics: Mapping[str, Any], gates: DatasetGates) -> list[dict[str, Any]]:
    """Hold every model's metrics against its floors.

    Returns:
        One entry per floor: `model`, `metric`, `value`, `limit`, `rule` (">=" or "<=") and `passed`.
        A metric that is missing or not a number has not passed.
    """
    return [gate for model in RULES for gate in check_floors(model, metrics, getattr(gates, model))]


def check_floors(model: str, metrics: Mapping[str, Any], floors: ClassifierFloor | GanFloor) -> list[dict[str, Any]]:
    """The same for one model."""
    return [
        _check(model, metric, sign, metrics.get(f"{model}.{metric}"), getattr(floors, floor))
        for floor, (metric, sign) in RULES[model].items()
    ]


def _check(model: str, metric: str, sign: int, value: Any, limit: float) -> dict[str, Any]:
    passed = isinstance(value, int | float) and sign * value >= sign * limit  # false for NaN
    rule = ">=" if sign > 0 else "<="
    return {"model": model, "metric": metric, "value": value, "limit": limit, "rule": rule, "passed": passed}
