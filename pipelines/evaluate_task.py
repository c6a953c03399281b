"""Stages `evaluate_NAME`: judge one model on the test data of its task. Run with the task's name."""

from __future__ import annotations

import importlib
import shutil
import sys

from deepdigits.core import paths
from deepdigits.core.compute import use_threads
from deepdigits.core.errors import UserError
from deepdigits.core.files import file_sha256, write_json
from deepdigits.core.loading import read_params
from deepdigits.core.measures import test_measures, weights_file, weights_named
from deepdigits.core.sections import StageParams
from deepdigits.data.digits.manifest import validated_manifest
from deepdigits.ops.exit import exits_cleanly
from deepdigits.ops.lineage import stage_lineage
from deepdigits.ops.tracking import DatasetIdentity, stage_run
from deepdigits.tasks.contract import Task


@exits_cleanly
def main() -> None:
    params = read_params(StageParams)
    use_threads(params.compute.threads)
    task = task_named(sys.argv[1] if len(sys.argv) == 2 else "")
    assert task.evaluate
    manifest = validated_manifest(task.data.manifest, task.data.verdict)
    weights, figures = weights_file(task.name), paths.figures_of(task.name)
    shutil.rmtree(figures, ignore_errors=True)
    measures = task.evaluate(task.load(weights), figures)
    metrics = {f"{task.name}.test.{key}": value for key, value in measures.items()}
    write_json(
        paths.METRICS / f"{task.metrics}.json",
        {
            "dataset.name": manifest["name"],
            "dataset.sha256": manifest["sha256"],
            **weights_named(task.name, task.judges),
            **metrics,
        },
    )
    dataset = DatasetIdentity.of(manifest)
    lineage = stage_lineage(f"evaluate_{task.name}", params.profile)
    tags = {"model": task.name, "model.sha256": file_sha256(weights)}
    with stage_run(lineage, dataset, lineage.stage, tags, "test") as run:
        run.metrics(test_measures(task.name, metrics))
        for figure in sorted(figures.glob("*.png")):
            run.file(figure, "figures")
        run.description(f"**{task.name.upper()}** on the test data of {dataset.title}: {task.summary(metrics)}.")
    print(f"evaluate_{task.name}: {task.summary(metrics)}")


def task_named(name: str) -> Task:
    """The task in deepdigits/tasks/NAME/task.py: a stage depends on its own task alone."""
    try:
        task: Task = getattr(importlib.import_module(f"deepdigits.tasks.{name}.task"), name.upper())
    except (ImportError, AttributeError, ValueError):
        raise UserError(f"There is no task {name!r}. Run: python -m pipelines.evaluate_task detector") from None
    return task


if __name__ == "__main__":
    main()
