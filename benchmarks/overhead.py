"""Measures the seconds each stage spends outside its own work: imports, params, hashing deps, one tracked run."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.common import Row, record, seconds
from deepdigits.ops.exit import exits_cleanly

# Stages of the main pipeline and their modules; evaluation and packaging of one classifier only.
STAGES = {name: name for name in ("ingest", "validate", "train_cnn", "train_rnn", "train_gan", "compare")} | {
    "evaluate_cnn": "evaluate",
    "package_cnn": "package",
}
ROUNDS = 3
PROGRAM = """
import importlib, os, sys
stage, module = sys.argv[1:]
importlib.import_module("pipelines." + module)
if module in ("evaluate", "package"):
    importlib.import_module("deepdigits.tasks.cnn." + {"evaluate": "evaluation", "package": "task"}[module])
from deepdigits.core import paths
from deepdigits.core.loading import read_params
from deepdigits.release.params import Params
from deepdigits.data.digits.manifest import validated_manifest
from deepdigits.ops.lineage import stage_lineage
from deepdigits.ops.tracking import DatasetIdentity, stage_run
params = read_params(Params)
dataset = DatasetIdentity.of(validated_manifest(paths.MANIFEST, paths.VERDICT))
with stage_run(stage_lineage(stage, params.profile), dataset, stage, {}, "overhead") as run:
    run.metrics({"nothing": 0.0})
"""


@exits_cleanly
def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        store = f"sqlite:///{Path(directory) / 'mlflow.db'}"
        run_once("ingest", store)  # creates the store
        taken = {
            stage: statistics.median(seconds(partial(run_once, stage, store)) for _ in range(ROUNDS))
            for stage in STAGES
        }
    empty = statistics.median(
        seconds(lambda: subprocess.run([sys.executable, "-c", ""], check=True)) for _ in range(ROUNDS)
    )
    rows = [
        Row(f"stage {stage}, outside its work", f"{value:.1f} s", f"{empty:.2f} s (python)", "", "<= 6 s", value <= 6)
        for stage, value in taken.items()
    ]
    record("overhead", rows)


def run_once(stage: str, store: str) -> None:
    environment = {**os.environ, "MLFLOW_TRACKING_URI": store}
    subprocess.run(
        [sys.executable, "-c", PROGRAM, stage, STAGES[stage]], check=True, env=environment, capture_output=True
    )


if __name__ == "__main__":
    main()
