"""The names that figures of reports/metrics have in MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def test_measures(model: str, metrics: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of one model in evaluate.json under `test/`, equal for both classifiers, so that they compare."""
    tested = any(key.startswith(f"{model}.test.") for key in metrics)
    prefix = f"{model}.test." if tested else f"{model}."
    return {
        f"test/{key.removeprefix(prefix)}": float(value)
        for key, value in metrics.items()
        if key.startswith(prefix) and isinstance(value, int | float)
    }
