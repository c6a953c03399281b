"""Stage `package`: refuse what is below its floor; write ONNX, golden examples, cards and the report; register."""

from __future__ import annotations

from typing import Any

import numpy as np

from deepdigits import paths
from deepdigits.cards import model_card
from deepdigits.compute import use_threads
from deepdigits.config.loading import read_params
from deepdigits.config.release import DatasetGates, Package
from deepdigits.config.sections import PerDataset, StageParams
from deepdigits.data.manifest import validated_manifest
from deepdigits.data.splits import Split, load_split
from deepdigits.errors import UserError, exits_cleanly
from deepdigits.files import read_json, write_bytes, write_npz, write_text
from deepdigits.gates import check_gates
from deepdigits.inference import load_network
from deepdigits.lineage import stage_lineage
from deepdigits.models.cnn import Cnn
from deepdigits.packaged import MODEL_NAMES, register_all
from deepdigits.packaging import (
    Exported,
    ExportedClassifier,
    ExportedCnn,
    ExportedGenerator,
    check_onnx,
    export_onnx,
    golden_examples,
)
from deepdigits.report import report_page
from deepdigits.tracking import DatasetIdentity, stage_run


class Parameters(StageParams):
    package: Package
    gates: PerDataset[DatasetGates]


@exits_cleanly
def main() -> None:
    params = read_params(Parameters)
    use_threads(params.compute.threads)
    manifest = validated_manifest(paths.MANIFEST, paths.VERDICT)
    metrics = {key: value for name in METRIC_FILES for key, value in read_json(paths.METRICS / f"{name}.json").items()}
    lineage = stage_lineage("package", params.profile)
    with stage_run(lineage, DatasetIdentity.of(manifest), "package", {}, "packaging") as run:
        gates = check_gates(metrics, params.gates[manifest["name"]])
        run.metrics({f"gate/{gate['model']}/{gate['metric']}": float(gate["passed"]) for gate in gates})
        refuse_below_floor(gates, manifest["name"])

        validation = load_split(paths.split_file("validation"))
        for model in MODEL_NAMES:
            difference = package_model(model, validation, params.package)
            run.metrics({f"onnx_difference/{model}": difference})
            description = read_json(paths.MODELS / model / "model.json")
            card = model_card(model, manifest, description, metrics, gates)
            write_text(paths.MODELS / model / "model_card.md", card)
        write_text(paths.REPORT, page(manifest, metrics, gates, params.profile))

        registered = register_all(params.profile)
        run.tags({item.name: f"version {item.version}" for item in registered})
        run.description("Packaged: " + ", ".join(f"{item.name} version {item.version}" for item in registered) + ".")
    for item in registered:
        print(f"package: {item.name} version {item.version} ({'new' if item.new else 'was there'})")


METRIC_FILES = ("train_cnn", "train_rnn", "train_gan", "evaluate")


def refuse_below_floor(gates: list[dict[str, Any]], dataset: str) -> None:
    failed = [gate for gate in gates if not gate["passed"]]
    if failed:
        lines = [
            f"- {gate['model']}: {gate['metric']} is {gate['value']}, must be {gate['rule']} {gate['limit']}"
            for gate in failed
        ]
        raise UserError(
            "Nothing was packaged or registered, since these floors are not met:\n"
            + "\n".join(lines)
            + f"\nThe floors are in params.yaml: gates.{dataset}."
        )


def package_model(model: str, validation: Split, config: Package) -> float:
    """Write model.onnx and golden.npz of one model; return the largest difference between ONNX and PyTorch."""
    directory = paths.MODELS / model
    network = load_network(directory / "model.safetensors")
    count = config.golden_examples
    exported: Exported
    if model == "gan":
        exported = ExportedGenerator(network)
        noise_dim = read_json(directory / "model.json")["config"]["noise_dim"]
        noise = [np.random.default_rng(seed).standard_normal(noise_dim, np.float32) for seed in range(count)]
        inputs = {"noise": np.stack(noise), "digit": np.arange(count) % 10}
    else:
        exported = ExportedCnn(network) if isinstance(network, Cnn) else ExportedClassifier(network)
        inputs = {"images": validation.images[:count]}
    golden = golden_examples(exported, inputs)
    onnx_bytes = export_onnx(exported, inputs)
    difference = check_onnx(onnx_bytes, golden, config.onnx_tolerance, model)
    write_bytes(directory / "model.onnx", onnx_bytes)
    write_npz(directory / "golden.npz", golden.arrays())
    return difference


def page(manifest: dict[str, Any], metrics: dict[str, Any], gates: list[dict[str, Any]], profile: str) -> str:
    verdict = read_json(paths.VERDICT)
    root = paths.REPORT.parent
    progress = [path.relative_to(root).as_posix() for path in sorted(paths.GAN_PROGRESS.glob("*.png"))]
    return report_page(manifest, metrics, gates, verdict, progress, profile)


if __name__ == "__main__":
    main()
