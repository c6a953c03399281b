"""The `evaluate` stages: measure one model on its task's test data. Takes the task's name as its argument."""

from __future__ import annotations

import shutil
import sys

from deepdigits.core import paths
from deepdigits.core.compute import use_threads
from deepdigits.core.files import file_sha256, write_json
from deepdigits.core.loading import read_params
from deepdigits.core.measures import logged, weights_file, weights_named
from deepdigits.core.sections import StageParams
from deepdigits.data.digits.manifest import validated_manifest
from deepdigits.ops.exit import exits_cleanly
from deepdigits.ops.lineage import stage_lineage
from deepdigits.ops.tracking import DatasetIdentity, stage_run
from deepdigits.tasks.config import Evaluate
from pipelines.tasks import evaluation_named


class Parameters(StageParams):
    evaluate: Evaluate


@exits_cleanly
def main() -> None:
    params = read_params(Parameters)
    use_threads(params.compute.threads)
    task = evaluation_named(*sys.argv[1:])
    manifest = validated_manifest(task.data.manifest, task.data.verdict)
    weights, figures = weights_file(task.name), paths.figures_of(task.name)
    shutil.rmtree(figures, ignore_errors=True)
    measures = task.evaluate(task.load(weights), figures, params.evaluate)
    write_json(
        paths.evaluation_file(task.name),
        {
            "dataset.name": manifest["name"],
            "dataset.sha256": manifest["sha256"],
            **weights_named(task.name, task.judges),
            **{f"{task.name}.test.{key}": value for key, value in measures.items()},
        },
    )
    dataset = DatasetIdentity.of(manifest)
    lineage = stage_lineage(f"evaluate_{task.name}", params.profile)
    tags = {"model": task.name, "model.sha256": file_sha256(weights)}
    with stage_run(lineage, dataset, lineage.stage, tags, "test") as run:
        run.metrics(logged(measures))
        run.file(figures, "figures")
        run.description(f"**{task.name.upper()}** on the test data of {dataset.title}: {task.summary(measures)}.")
    print(f"{lineage.stage}: {task.summary(measures)}")


if __name__ == "__main__":
    main()
