"""Where everything is, from the repository's root."""

from __future__ import annotations

from pathlib import Path

DOWNLOADS = Path(".cache/downloads")
CHECKPOINTS = Path(".cache/training")

RAW = Path("data/raw")
PROCESSED = Path("data/processed")
MANIFEST = PROCESSED / "manifest.json"

MODELS = Path("models")

METRICS = Path("reports/metrics")
VERDICT = METRICS / "validate.json"

PLOTS = Path("reports/plots")
DATA_DOCS = Path("reports/data_docs")
GAN_PROGRESS = Path("reports/figures/gan_progress")
FIGURES = Path("reports/figures/evaluate")
REPORT = Path("reports/index.html")


def split_file(name: str) -> Path:
    return PROCESSED / f"{name}.npz"
