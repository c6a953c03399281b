"""The absolute floors: a model below one is not packaged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

Rules = Mapping[str, tuple[str, int]]  # floor in params.yaml: (measure, +1 where more is better)


def check_floors(model: str, rules: Rules, metrics: Mapping[str, Any], floors: BaseModel) -> list[dict[str, Any]]:
    """Hold a model's measures, `MODEL.MEASURE` in `metrics`, against its floors.

    Returns:
        One entry per floor: `model`, `metric`, `value`, `limit`, `rule` (">=" or "<=") and `passed`.
        A measure that is missing or not a number has not passed.
    """
    return [
        _check(model, metric, sign, metrics.get(f"{model}.{metric}"), getattr(floors, floor))
        for floor, (metric, sign) in rules.items()
    ]


def _check(model: str, metric: str, sign: int, value: Any, limit: float) -> dict[str, Any]:
    passed = isinstance(value, int | float) and sign * value >= sign * limit  # false for NaN
    rule = ">=" if sign > 0 else "<="
    return {"model": model, "metric": metric, "value": value, "limit": limit, "rule": rule, "passed": passed}
