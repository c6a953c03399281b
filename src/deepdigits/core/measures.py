"""What figures of reports/metrics say: of which weights they are, and the names that they have in MLflow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from deepdigits.core import paths
from deepdigits.core.files import file_sha256


def weights_file(model: str) -> Path:
    return paths.MODELS / model / "model.safetensors"


def weights_named(model: str, judges: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of the weights that figures are of, and of those of the models that judge them, by the names that
    they have in reports/metrics."""
    files = {f"{model}.weights_sha256": model, **{f"{model}.judged_by.{judge}": judge for judge in judges}}
    return {key: file_sha256(weights_file(name)) for key, name in files.items()}


def test_measures(model: str, metrics: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of one model in evaluate.json under `test/`, equal for both classifiers, so that they compare."""
    tested = any(key.startswith(f"{model}.test.") for key in metrics)
    prefix = f"{model}.test." if tested else f"{model}."
    return {
        f"test/{key.removeprefix(prefix)}": float(value)
        for key, value in metrics.items()
        if key.startswith(prefix) and isinstance(value, int | float)
    }
