"""The `package` stages: if a model meets its floors, write its ONNX file, golden examples and card, and register it.

Takes the task's name as its argument.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from deepdigits.core import paths
from deepdigits.core.compute import use_threads
from deepdigits.core.errors import UserError
from deepdigits.core.files import read_json, write_bytes, write_npz, write_text
from deepdigits.core.loading import read_params
from deepdigits.core.measures import measures_of
from deepdigits.core.sections import StageParams
from deepdigits.data.digits.manifest import validated_manifest
from deepdigits.export.onnx import check_onnx, describe_in_file, export_onnx, golden_examples
from deepdigits.export.runtime import WEIGHTS_SHA256
from deepdigits.ops.exit import exits_cleanly
from deepdigits.ops.lineage import stage_lineage
from deepdigits.ops.tracking import DatasetIdentity, stage_run
from deepdigits.release.cards import model_card
from deepdigits.release.config import Package
from deepdigits.release.floors import check_floors, floors_of, missed_floors
from deepdigits.release.packaged import check_figures, describe_package, read_metrics, read_packaged
from deepdigits.release.registry import register
from deepdigits.tasks.contract import Task
from pipelines.tasks import task_named


class Parameters(StageParams):
    package: Package


@exits_cleanly
def main() -> None:
    params = read_params(Parameters)
    use_threads(params.compute.threads)
    task = task_named(*sys.argv[1:])
    manifest = validated_manifest(task.data.manifest, task.data.verdict)
    metrics = read_metrics(task)
    dataset = read_json(paths.MANIFEST)["name"]
    gates = check_floors(task, measures_of(task.name, metrics), floors_of(dataset))
    lineage = stage_lineage(f"package_{task.name}", params.profile)
    with stage_run(lineage, DatasetIdentity.of(manifest), lineage.stage, {"model": task.name}, "packaging") as run:
        run.metrics({f"gate/{gate['metric']}": float(gate["passed"]) for gate in gates})
        if missed := missed_floors(gates):
            lines = "\n".join(f"- {floor}" for floor in missed)
            raise UserError(
                f"{task.name} is below a floor, so it is neither packaged nor registered:\n{lines}\n"
                f"The floors are in datasets/{dataset}.yaml. See the report for all metrics."
            )
        run.metrics({"onnx_difference": package_model(task, params.package, manifest)})
        description = read_json(paths.MODELS / task.name / "model.json")
        card = model_card(task, manifest, description, metrics, gates)
        write_text(paths.MODELS / task.name / "model_card.md", card)
        describe_package(task)
        item = register(read_packaged(task, params.profile))
        run.tags({item.name: f"version {item.version}"})
        run.description(f"Packaged: {item.name} version {item.version}.")
    print(f"{lineage.stage}: {item.name} version {item.version} ({'new' if item.new else 'already registered'})")


def package_model(task: Task, config: Package, manifest: Mapping[str, Any]) -> float:
    """Write model.onnx and golden.npz for one model; return the largest difference between ONNX and PyTorch outputs."""
    directory = paths.MODELS / task.name
    weights_sha256 = check_figures(task)
    exported = task.exported(task.load(directory / "model.safetensors"))
    inputs = task.golden_inputs(config.golden_examples)
    golden = golden_examples(exported, inputs)
    onnx_bytes = describe_in_file(
        export_onnx(exported, inputs), weights_sha256, manifest["classes"], manifest.get("input")
    )
    difference = check_onnx(onnx_bytes, golden, config.onnx_tolerance, task.name)
    write_bytes(directory / "model.onnx", onnx_bytes)
    write_npz(directory / "golden.npz", {**golden.arrays(), WEIGHTS_SHA256: np.array(weights_sha256)})
    return difference


if __name__ == "__main__":
    main()
