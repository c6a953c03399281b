"""Stage `evaluate`: the only stage that judges on the test images; judges all three models on them, once."""

from __future__ import annotations

import shutil
from typing import Any

from deepdigits.core import paths
from deepdigits.core.compute import use_threads
from deepdigits.core.files import file_sha256, write_json
from deepdigits.core.loading import read_params
from deepdigits.core.measures import test_measures, weights_file, weights_named
from deepdigits.core.sections import StageParams
from deepdigits.data.digits.manifest import validated_manifest
from deepdigits.data.digits.splits import load_split
from deepdigits.ops.exit import exits_cleanly
from deepdigits.ops.lineage import Lineage, stage_lineage
from deepdigits.ops.tracking import DatasetIdentity, stage_run
from deepdigits.tasks.cnn.network import load_cnn
from deepdigits.tasks.config import Evaluate
from deepdigits.tasks.gan.network import load_discriminator, load_generator
from deepdigits.tasks.rnn.network import load_rnn
from pipelines.evaluate_classifiers import evaluate_classifiers
from pipelines.evaluate_gan import evaluate_gan

CLASSIFIERS = ("cnn", "rnn")
MODEL_FILES = {name: weights_file(name) for name in (*CLASSIFIERS, "gan")}
DISCRIMINATOR = paths.MODELS / "gan" / "discriminator.safetensors"


class Parameters(StageParams):
    evaluate: Evaluate


@exits_cleanly
def main() -> None:
    params = read_params(Parameters)
    use_threads(params.compute.threads)
    manifest = validated_manifest(paths.MANIFEST, paths.VERDICT)
    splits = {name: load_split(paths.split_file(name)) for name in ("train", "validation", "test")}
    shutil.rmtree(paths.FIGURES, ignore_errors=True)

    cnn, rnn = load_cnn(MODEL_FILES["cnn"]), load_rnn(MODEL_FILES["rnn"])
    generator, discriminator = load_generator(MODEL_FILES["gan"]), load_discriminator(DISCRIMINATOR)
    metrics: dict[str, Any] = {
        "dataset.name": manifest["name"],
        "dataset.sha256": manifest["sha256"],
        **weights_named("cnn", []),
        **weights_named("rnn", []),
        **weights_named("gan", ["cnn"]),
        "gan.feature_network_sha256": file_sha256(MODEL_FILES["cnn"]),
        "gan.discriminator_sha256": file_sha256(DISCRIMINATOR),
        **evaluate_classifiers({"cnn": cnn, "rnn": rnn}, splits["test"], manifest["name"], params.evaluate),
        **evaluate_gan(generator, discriminator, cnn, splits, params.evaluate),
    }
    write_json(paths.METRICS / "evaluate.json", metrics)

    lineage = stage_lineage("evaluate", params.profile)
    for name in (*CLASSIFIERS, "gan"):
        log_model_run(name, metrics, lineage, DatasetIdentity.of(manifest))
    print("evaluate: " + ", ".join(f"{key} {metrics[key]:.4f}" for key in HEADLINES))


HEADLINES = (
    "cnn.test.accuracy", "rnn.test.accuracy", "cnn.test.corrupted_mean",
    "gan.fid", "gan.fid_floor", "gan.coverage", "gan.synthetic_accuracy", "gan.fool_rate_fresh",
)  # fmt: skip


def log_model_run(name: str, metrics: dict[str, Any], lineage: Lineage, dataset: DatasetIdentity) -> None:
    tags = {"model": name, "model.sha256": file_sha256(MODEL_FILES[name])}
    with stage_run(lineage, dataset, f"evaluate_{name}", tags, "test") as run:
        run.metrics(test_measures(name, metrics))
        for pattern in (f"{name}_*.png", *(["classifiers_*.png"] if name in CLASSIFIERS else [])):
            for figure in sorted(paths.FIGURES.glob(pattern)):
                run.file(figure, "figures")
        run.description(summary_text(name, metrics, dataset.title))


def summary_text(name: str, metrics: dict[str, Any], title: str) -> str:
    if name == "gan":
        return (
            f"**GAN** against the test images of {title}: FID **{metrics['gan.fid']:.3f}** in the CNN's features, "
            f"real against real {metrics['gan.fid_floor']:.3f}; coverage {metrics['gan.coverage']:.3f}; "
            f"{metrics['gan.class_accuracy']:.2%} of the samples are read as the digit asked for."
        )
    low, high = metrics[f"{name}.test.accuracy_low"], metrics[f"{name}.test.accuracy_high"]
    return (
        f"**{name.upper()}** on the test images of {title}: accuracy **{metrics[f'{name}.test.accuracy']:.2%}** "
        f"(95 % interval {low:.2%} to {high:.2%}). CNN against RNN, exact McNemar: only the CNN right on "
        f"{metrics['mcnemar.only_cnn_right']}, only the RNN on {metrics['mcnemar.only_rnn_right']}, "
        f"p = {metrics['mcnemar.p_value']:.3g}."
    )


if __name__ == "__main__":
    main()
