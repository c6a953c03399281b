"""Stage `evaluate`: the only reader of the test split; judges all three models on it, once."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from deepdigits import paths
from deepdigits.compute import use_threads
from deepdigits.config import Evaluate, load_params
from deepdigits.data.manifest import validated_manifest
from deepdigits.data.splits import Split, load_split, subset
from deepdigits.errors import exits_cleanly
from deepdigits.evaluation.classification import (
    ClassifierReport,
    classifier_report,
    mcnemar,
    reliability,
    wilson_interval,
    worst_mistakes,
)
from deepdigits.evaluation.figures import (
    save_captioned,
    save_confusion,
    save_image_grid,
    save_reliability,
)
from deepdigits.evaluation.generative import (
    diversity,
    first_of_each_class,
    fool_rate,
    frechet_distance,
    manifold_metrics,
)
from deepdigits.files import file_sha256, write_csv, write_json
from deepdigits.inference import features, load_network, probabilities
from deepdigits.lineage import Lineage, stage_lineage
from deepdigits.models.cnn import Cnn
from deepdigits.models.gan import Generator, generate, interpolated_noise, scores
from deepdigits.tracking import DatasetIdentity, stage_run

CLASSIFIERS = ("cnn", "rnn")
MODEL_FILES = {name: paths.MODELS / name / "model.safetensors" for name in (*CLASSIFIERS, "gan")}
DISCRIMINATOR = paths.MODELS / "gan" / "discriminator.safetensors"


@exits_cleanly
def main() -> None:
    params = load_params()
    config = params.evaluate
    use_threads(params.compute.threads)
    manifest = validated_manifest(paths.MANIFEST, paths.VERDICT)
    validation, test = (load_split(paths.split_file(name)) for name in ("validation", "test"))
    shutil.rmtree(paths.FIGURES, ignore_errors=True)

    answers = {name: probabilities(load_network(MODEL_FILES[name]), test.images) for name in CLASSIFIERS}
    metrics: dict[str, Any] = {"dataset.name": manifest["name"], "dataset.sha256": manifest["sha256"]}
    for name in CLASSIFIERS:
        metrics |= evaluate_classifier(name, answers[name], test, config)
    metrics |= compare_classifiers(answers, test.labels)
    metrics |= evaluate_gan(validation, test, config)
    write_json(paths.METRICS / "evaluate.json", metrics)

    lineage = stage_lineage("evaluate", params.profile)
    for name in (*CLASSIFIERS, "gan"):
        log_model_run(name, metrics, lineage, DatasetIdentity.of(manifest))
    print("evaluate: " + ", ".join(f"{key} {metrics[key]:.4f}" for key in HEADLINES))


HEADLINES = ("cnn.test.accuracy", "rnn.test.accuracy", "gan.fid", "gan.fid_floor", "gan.coverage", "gan.fool_rate")


def evaluate_classifier(name: str, answers: np.ndarray, test: Split, config: Evaluate) -> dict[str, float]:
    """Metrics of one classifier under `NAME.test.`; writes its figures and its predictions for `dvc plots`."""
    report = classifier_report(answers, test.labels, config.calibration_bins)
    title = f"{name.upper()}, test accuracy {report.scalars['accuracy']:.2%}"
    save_confusion(report.confusion, paths.FIGURES / f"{name}_confusion.png", title)
    bins = reliability(answers, test.labels, config.calibration_bins)
    save_reliability(
        bins,
        paths.FIGURES / f"{name}_reliability.png",
        f"{name.upper()}, calibration error {report.scalars['ece']:.3f}",
    )
    save_mistakes(name, answers, test, config.worst_mistakes)
    predicted = answers.argmax(axis=1)
    rows = [{"actual": int(a), "predicted": int(p)} for a, p in zip(test.labels, predicted, strict=True)]
    write_csv(paths.PLOTS / f"{name}_test.csv", rows)
    return {f"{name}.test.{key}": value for key, value in per_class_flat(report).items()}


def per_class_flat(report: ClassifierReport) -> dict[str, float]:
    flat = dict(report.scalars)
    for key in ("precision", "recall", "f1"):
        flat |= {f"{key}.{digit}": float(value) for digit, value in enumerate(getattr(report, key))}
    return flat


def save_mistakes(name: str, answers: np.ndarray, test: Split, count: int) -> None:
    rows = worst_mistakes(answers, test.labels, count)
    captions = [
        f"#{row}: {test.labels[row]} read as {answers[row].argmax()}\nat {answers[row].max():.1%}" for row in rows
    ]
    title = f"{name.upper()}: the most confident mistakes on the test set"
    save_captioned(test.images[rows], captions, paths.FIGURES / f"{name}_mistakes.png", title)


def compare_classifiers(answers: dict[str, np.ndarray], labels: np.ndarray) -> dict[str, float]:
    cnn_right, rnn_right = (answers[name].argmax(axis=1) == labels for name in CLASSIFIERS)
    comparison = mcnemar(cnn_right, rnn_right)
    return {
        "mcnemar.only_cnn_right": comparison.only_first_right,
        "mcnemar.only_rnn_right": comparison.only_second_right,
        "mcnemar.both_wrong": int((~cnn_right & ~rnn_right).sum()),
        "mcnemar.p_value": comparison.p_value,
    }


def evaluate_gan(validation: Split, test: Split, config: Evaluate) -> dict[str, Any]:
    """Compare generated with test images of the same digits, and validation with test images as the floor.

    The space is the last hidden layer of the evaluated CNN, whose hash stands beside the figures.
    """
    cnn, generator = load_network(MODEL_FILES["cnn"]), load_network(MODEL_FILES["gan"])
    discriminator = load_network(DISCRIMINATOR)
    assert isinstance(cnn, Cnn)
    assert isinstance(generator, Generator)
    size = min(config.gan_samples, len(validation), len(test))
    real, other = (subset(split, size, config.seed) for split in (test, validation))
    draw = torch.Generator().manual_seed(config.seed)
    fake = generate(generator, torch.randn(size, generator.noise_dim, generator=draw), torch.from_numpy(real.labels))
    in_real, in_other, in_fake = (features(cnn, images) for images in (real.images, other.images, fake))
    read_as = probabilities(cnn, fake).argmax(axis=1)
    agreement = np.array([(read_as[real.labels == digit] == digit).mean() for digit in range(10)])
    low, high = wilson_interval(int((read_as == real.labels).sum()), size)
    varied = diversity(fake, real.labels) / diversity(real.images, real.labels)
    fid, floor = frechet_distance(in_real, in_fake), frechet_distance(in_real, in_other)
    real_scores, fake_scores = (scores(discriminator, images, real.labels) for images in (real.images, fake))
    save_gan_figures(generator, real, fake, config.seed)
    manifold = {
        f"gan.{key}": value for key, value in asdict(manifold_metrics(in_real, in_fake, config.neighbours)).items()
    }
    return {
        "gan.samples": size,
        "gan.fid": fid,
        "gan.fid_floor": floor,
        "gan.fid_ratio": fid / floor,
        "gan.feature_network_sha256": file_sha256(MODEL_FILES["cnn"]),
        **manifold,
        "gan.diversity": float(varied.mean()),
        "gan.diversity_min": float(varied.min()),
        "gan.class_accuracy": float((read_as == real.labels).mean()),
        "gan.class_accuracy_low": low,
        "gan.class_accuracy_high": high,
        "gan.class_accuracy_min": float(agreement.min()),
        "gan.fool_rate": fool_rate(real_scores, fake_scores),
    }


def save_gan_figures(generator: Generator, real: Split, fake: np.ndarray, seed: int) -> None:
    """Ten samples of each digit beside ten real images, and a walk between two noises for each digit."""
    for name, images in (("gan_samples", fake), ("real_samples", real.images)):
        save_image_grid(first_of_each_class(images, real.labels, 10), paths.FIGURES / f"{name}.png", columns=10)
    noise, digits = interpolated_noise(generator.noise_dim, steps=10, seed=seed)
    save_image_grid(generate(generator, noise, digits), paths.FIGURES / "gan_interpolation.png", columns=10)


def log_model_run(name: str, metrics: dict[str, Any], lineage: Lineage, dataset: DatasetIdentity) -> None:
    """One run per model, with equal metric names for both classifiers so that MLflow can compare them."""
    prefix = f"{name}.test." if name in CLASSIFIERS else f"{name}."
    own = {f"test/{key.removeprefix(prefix)}": value for key, value in metrics.items() if key.startswith(prefix)}
    tags = {"model": name, "model.sha256": file_sha256(MODEL_FILES[name])}
    with stage_run(lineage, dataset, f"evaluate_{name}", tags, "test") as run:
        run.metrics({key: float(value) for key, value in own.items() if not isinstance(value, str)})
        for figure in sorted(paths.FIGURES.glob(f"{name}_*.png")):
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
