"""Absolute floors: a model that misses one is neither packaged nor registered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deepdigits.core.sections import Section
from deepdigits.data.described import described
from deepdigits.release.config import Floors
from deepdigits.tasks.contract import Task

Gates = Sequence[Mapping[str, Any]]


class Judged(Section):
    """The part of a description that says what a model must reach."""

    floors: Floors


def floors_of(dataset: str) -> Floors:
    """The floors in datasets/DATASET.yaml."""
    return described(Judged, dataset).floors


def check_floors(task: Task, measures: Mapping[str, Any], floors: Floors) -> list[dict[str, Any]]:
    """Check a model's measures against its floors.

    Args:
        measures: the measures on the test data, by name.

    Returns:
        One entry per declared floor: `model`, `metric`, `value`, `limit`, `rule` (">=" or "<=") and `passed`.
        A missing or non-numeric measure does not pass.
    """
    limits = getattr(floors, task.name)
    return [
        _check(task.name, metric, sign, measures.get(metric), getattr(limits, floor))
        for floor, (metric, sign) in task.rules.items()
        if getattr(limits, floor) is not None
    ]


def missed_floors(gates: Gates) -> list[str]:
    """One phrase per missed floor, e.g. `coverage is 0.9, must be >= 0.91`."""
    return [
        f"{gate['metric']} is {_number(gate['value'])}, must be {gate['rule']} {gate['limit']}"
        for gate in gates
        if not gate["passed"]
    ]


def _check(model: str, metric: str, sign: int, value: Any, limit: float) -> dict[str, Any]:
    passed = isinstance(value, int | float) and sign * value >= sign * limit  # false for NaN
    rule = ">=" if sign > 0 else "<="
    return {"model": model, "metric": metric, "value": value, "limit": limit, "rule": rule, "passed": passed}


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
