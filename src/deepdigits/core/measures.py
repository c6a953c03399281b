"""Provenance of the figures in reports/metrics: which weights they describe, and their names in MLflow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from deepdigits.core import paths
from deepdigits.core.files import file_sha256


def weights_file(model: str) -> Path:
    return paths.MODELS / model / "model.safetensors"


def weights_named(model: str, judges: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of the evaluated weights and of the judging models' weights, keyed by their names in
    reports/metrics."""
    files = {f"{model}.weights_sha256": model, **{f"{model}.judged_by.{judge}": judge for judge in judges}}
    return {key: file_sha256(weights_file(name)) for key, name in files.items()}


def measures_of(model: str, metrics: Mapping[str, Any]) -> dict[str, float]:
    """The measures on the test data, `MODEL.test.MEASURE` in `metrics`, keyed by their own names."""
    prefix = f"{model}.test."
    return {key.removeprefix(prefix): value for key, value in metrics.items() if key.startswith(prefix)}


def logged(measures: Mapping[str, float]) -> dict[str, float]:
    """The same under `test/`, as logged to MLflow. All models share these names, so their runs can be compared."""
    return {f"test/{name}": float(value) for name, value in measures.items()}
