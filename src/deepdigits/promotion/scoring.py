"""Scores candidate and champion on the same test images, both afresh and from the registered files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from deepdigits.core import paths
from deepdigits.core.errors import UserError
from deepdigits.core.files import sha256
from deepdigits.data.digits.splits import Split, load_split
from deepdigits.data.scenes.manifest import arrays_sha256
from deepdigits.data.scenes.scenes import Scenes, load_scenes
from deepdigits.export.runtime import golden_arrays, latencies, open_session
from deepdigits.promotion.registered import RegisteredModel
from deepdigits.promotion.rules import Score
from deepdigits.tasks.catalogue import TASKS
from deepdigits.tasks.config import Evaluate
from deepdigits.tasks.contract import Task
from deepdigits.tasks.evaluation import SCENES

LATENCY_ROUNDS = 300


def score_all(
    models: Mapping[str, RegisteredModel],
    judges: Mapping[str, RegisteredModel],
    splits: Mapping[str, Scenes | Split],
    config: Evaluate,
    threads: int,
) -> dict[str, Score]:
    """Score the models of one task, by role. `judges` are the registered models of `task.judges`, by kind."""
    task = TASKS[models["candidate"].kind]
    opened = {kind: TASKS[kind].open(judge.onnx, threads) for kind, judge in judges.items()}
    golden, _ = golden_arrays(models["candidate"].files / "golden.npz")
    count = len(next(iter(golden.values())))
    feeds = [{name: array[[row % count]] for name, array in golden.items()} for row in range(LATENCY_ROUNDS)]
    times = latencies([open_session(model.onnx, 1) for model in models.values()], feeds)
    scores = {}
    for (role, model), milliseconds in zip(models.items(), times, strict=True):
        result = task.score(task.open(model.onnx, threads), splits, opened, config)
        scores[role] = Score(result, parameter_count(model.onnx), milliseconds)
    return scores


def frozen_data(task: Task, manifest: Mapping[str, Any]) -> Mapping[str, Scenes | Split]:
    """Load the splits that a task is scored on; see `frozen_scenes` and `frozen_splits`."""
    return frozen_scenes(manifest) if task.data is SCENES else frozen_splits(manifest, *task.splits)


def frozen_scenes(manifest: Mapping[str, Any]) -> dict[str, Scenes]:
    """Load the test scenes, by the name of their split, and check that they are what the manifest says.

    Raises:
        UserError: the file is missing or corrupt, or was changed.
    """
    scenes = load_scenes(paths.scene_file("test"))
    if arrays_sha256(scenes) != manifest["splits"]["test"]["arrays_sha256"]:
        raise UserError(
            f"{paths.scene_file('test')} is not what {paths.SCENE_MANIFEST} says. Run: dvc repro --force compose"
        )
    return {"test": scenes}


def parameter_count(path: Path) -> int:
    """Count the parameters in an ONNX file: the floating-point initializers of one dimension or more."""
    arrays = (numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer)
    return sum(array.size for array in arrays if array.ndim and np.issubdtype(array.dtype, np.floating))


def frozen_splits(manifest: Mapping[str, Any], *names: str) -> dict[str, Split]:
    """Load splits, and check that they hold what the manifest says.

    Raises:
        UserError: a split is missing or corrupt, or was changed.
    """
    splits = {name: load_split(paths.split_file(name)) for name in names}
    for name, split in splits.items():
        found = sha256(np.ascontiguousarray(split.images).tobytes()), sha256(split.labels.astype("<i8").tobytes())
        entry = manifest["splits"][name]
        if found != (entry["images_sha256"], entry["labels_sha256"]):
            raise UserError(
                f"{paths.split_file(name)} is not what {paths.MANIFEST} says. Run: dvc repro --force ingest"
            )
    return splits
