"""Paths relative to the repository root."""

from __future__ import annotations

from pathlib import Path

DOWNLOADS = Path(".cache/downloads")
CHECKPOINTS = Path(".cache/training")

RAW = Path("data/raw")
PROCESSED = Path("data/processed")
MANIFEST = PROCESSED / "manifest.json"

SCENES = Path("data/scenes")
SCENE_MANIFEST = SCENES / "manifest.json"

MODELS = Path("models")

METRICS = Path("reports/metrics")
VERDICT = METRICS / "validate.json"
SCENE_VERDICT = METRICS / "validate_scenes.json"
COMPARISON = METRICS / "compare.json"

PLOTS = Path("reports/plots")
DATA_DOCS = Path("reports/data_docs")
SCENE_DOCS = Path("reports/scene_docs")
GAN_PROGRESS = Path("reports/figures/gan_progress")
REPORTS = Path("reports")
REPORT = REPORTS / "index.html"


def scene_file(name: str) -> Path:
    return SCENES / f"{name}.npz"


def figures_of(name: str) -> Path:
    """The figures folder of one task's evaluation, or of the comparison."""
    return Path("reports/figures") / name


def training_file(task: str) -> Path:
    """The metrics file of a training run."""
    return METRICS / f"train_{task}.json"


def evaluation_file(task: str) -> Path:
    """The metrics file of an evaluation."""
    return METRICS / f"evaluate_{task}.json"


def split_file(name: str) -> Path:
    return PROCESSED / f"{name}.npz"
