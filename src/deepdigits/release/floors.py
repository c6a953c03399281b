"""The absolute floors: a model below one is not packaged, and not registered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from deepdigits.release.config import DatasetGates
from deepdigits.tasks.catalogue import TASKS
from deepdigits.tasks.contract import Rules


def check_gates(metrics: Mapping[str, Any], gates: DatasetGates) -> list[dict[str, Any]]:
    """Hold every model's metrics against its floors; see `check_floors`."""
    return [
        gate for name, task in TASKS.items() for gate in check_floors(name, task.rules, metrics, getattr(gates, name))
    ]


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


def broken_floors(gates: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The models below a floor: for each, what it misses, e.g. `coverage is 0.9, must be >= 0.91`."""
    broken: dict[str, list[str]] = {}
    for gate in gates:
        if not gate["passed"]:
            text = f"{gate['metric']} is {gate['value']}, must be {gate['rule']} {gate['limit']}"
            broken.setdefault(gate["model"], []).append(text)
    return broken


def _check(model: str, metric: str, sign: int, value: Any, limit: float) -> dict[str, Any]:
    passed = isinstance(value, int | float) and sign * value >= sign * limit  # false for NaN
    rule = ">=" if sign > 0 else "<="
    return {"model": model, "metric": metric, "value": value, "limit": limit, "rule": rule, "passed": passed}
