"""Stage `package`: of each model that meets its floors, write ONNX, golden examples and card, and register it; the rest
are refused by name. Write the report of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deepdigits.core import paths
from deepdigits.core.compute import use_threads
from deepdigits.core.errors import UserError
from deepdigits.core.files import read_json, write_bytes, write_npz, write_text
from deepdigits.core.loading import read_params
from deepdigits.core.sections import PerDataset, StageParams
from deepdigits.data.digits.manifest import validated_manifest
from deepdigits.export.onnx import check_onnx, export_onnx, golden_examples, name_weights
from deepdigits.export.runtime import WEIGHTS_SHA256
from deepdigits.ops.exit import exits_cleanly
from deepdigits.ops.lineage import stage_lineage
from deepdigits.ops.tracking import DatasetIdentity, stage_run
from deepdigits.release.cards import figure_rows, model_card
from deepdigits.release.config import DatasetGates, Package
from deepdigits.release.floors import broken_floors, check_gates
from deepdigits.release.packaged import check_figures, describe_package, read_metrics, register_all
from deepdigits.release.registry import Registered
from deepdigits.release.report import Section, report_page
from deepdigits.tasks.catalogue import TASKS
from deepdigits.tasks.contract import Task


class Parameters(StageParams):
    package: Package
    gates: PerDataset[DatasetGates]


@exits_cleanly
def main() -> None:
    params = read_params(Parameters)
    use_threads(params.compute.threads)
    manifest = validated_manifest(paths.MANIFEST, paths.VERDICT)
    metrics = read_metrics()
    lineage = stage_lineage("package", params.profile)
    with stage_run(lineage, DatasetIdentity.of(manifest), "package", {}, "packaging") as run:
        gates = check_gates(metrics, params.gates[manifest["name"]])
        run.metrics({f"gate/{gate['model']}/{gate['metric']}": float(gate["passed"]) for gate in gates})
        refused = broken_floors(gates)
        passed = [task for task in TASKS.values() if task.name not in refused]
        for task in passed:
            difference = package_model(task, params.package)
            run.metrics({f"onnx_difference/{task.name}": difference})
            description = read_json(paths.MODELS / task.name / "model.json")
            data = validated_manifest(task.data.manifest, task.data.verdict)
            card = model_card(task.name, task.card, data, description, metrics, gates)
            write_text(paths.MODELS / task.name / "model_card.md", card)
            describe_package(task)
        write_text(paths.REPORT, page(manifest, metrics, gates, params.profile))

        registered = register_all([task.name for task in passed], params.profile)
        run.tags({item.name: f"version {item.version}" for item in registered})
        run.description("Packaged: " + ", ".join(f"{item.name} version {item.version}" for item in registered) + ".")
        for item in registered:
            print(f"package: {item.name} version {item.version} ({'new' if item.new else 'was there'})")
        if refused:
            raise UserError(refusal(refused, registered, manifest["name"]))


def refusal(refused: Mapping[str, Sequence[str]], registered: Sequence[Registered], dataset: str) -> str:
    lines = [f"- {model}: {floor}" for model, floors in refused.items() for floor in floors]
    others = ", ".join(f"{item.name} version {item.version}" for item in registered) or "none"
    return (
        f"Below a floor, hence neither packaged nor registered: {', '.join(refused)}.\n"
        + "\n".join(lines)
        + f"\nPackaged and registered all the same: {others}. The floors are in params.yaml: gates.{dataset}. "
        "The report shows what was measured: reports/index.html"
    )


def package_model(task: Task, config: Package) -> float:
    """Write model.onnx and golden.npz of one model; return the largest difference between ONNX and PyTorch."""
    directory = paths.MODELS / task.name
    weights_sha256 = check_figures(task)
    exported = task.exported(task.load(directory / "model.safetensors"))
    inputs = task.golden_inputs(config.golden_examples)
    golden = golden_examples(exported, inputs)
    onnx_bytes = name_weights(export_onnx(exported, inputs), weights_sha256)
    difference = check_onnx(onnx_bytes, golden, config.onnx_tolerance, task.name)
    write_bytes(directory / "model.onnx", onnx_bytes)
    write_npz(directory / "golden.npz", {**golden.arrays(), WEIGHTS_SHA256: np.array(weights_sha256)})
    return difference


def page(manifest: dict[str, Any], metrics: dict[str, Any], gates: list[dict[str, Any]], profile: str) -> str:
    verdict = read_json(paths.VERDICT)
    root = paths.REPORT.parent
    progress = [path.relative_to(root).as_posix() for path in sorted(paths.GAN_PROGRESS.glob("*.png"))]
    sections = [section(task, metrics) for task in TASKS.values() if task.title]
    return report_page(manifest, metrics, gates, verdict, progress, sections, profile)


def section(task: Task, metrics: dict[str, Any]) -> Section:
    figures = paths.figures_of(task.name).relative_to(paths.REPORT.parent)
    cells = [line.strip("| ").split(" | ", 1) for line in figure_rows(task.name, task.card, metrics).splitlines()]
    return Section(
        title=task.title,
        rows=[(measure, value) for measure, value in cells],
        pictures=[((figures / name).as_posix(), caption) for name, caption in task.pictures.items()],
    )


if __name__ == "__main__":
    main()
