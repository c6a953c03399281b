"""The part of `evaluate` that judges the classifiers on the test images."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import nn

from deepdigits.core import paths
from deepdigits.core.files import write_csv
from deepdigits.data.digits.splits import Split
from deepdigits.nn.prediction import to_unit
from deepdigits.plotting.figures import save_captioned, save_confusion, save_image_grid, save_reliability
from deepdigits.plotting.plots import (
    save_by_row,
    save_convolution,
    save_curves,
    save_occlusions,
    save_robustness,
)
from deepdigits.tasks.classification.corruptions import CORRUPTIONS, corrupt
from deepdigits.tasks.classification.explanation import occlusion, probabilities_by_row
from deepdigits.tasks.classification.inference import probabilities
from deepdigits.tasks.classification.metrics import (
    classifier_report,
    contradicted,
    mcnemar,
    reliability,
    without_temperature,
    worst_mistakes,
)
from deepdigits.tasks.classification.robustness import (
    corrupted_accuracy,
    coverage_at,
    fgsm_accuracy,
    selective_accuracy,
)
from deepdigits.tasks.cnn.network import Cnn
from deepdigits.tasks.config import Evaluate
from deepdigits.tasks.gan.metrics import first_of_each_class

# Test images whose labels a public relabelling of MNIST found disputed.
DISPUTED = (947, 1621, 1901, 2130, 2462, 2597, 2654, 3520, 3558, 5937, 6651, 6783, 8527, 9679, 9729)
MNIST_TEST_IMAGES = 10_000


def evaluate_classifiers(
    networks: dict[str, nn.Module], test: Split, dataset: str, config: Evaluate
) -> dict[str, float]:
    """All figures of the classifiers; writes their pictures, and their predictions for `dvc plots`."""
    answers = {name: probabilities(network, test.images) for name, network in networks.items()}
    metrics: dict[str, float] = {}
    for name, network in networks.items():
        metrics |= judge_answers(name, network, answers[name], test, config)
        explain_mistakes(name, network, answers[name], test, config)
        if dataset == "mnist" and len(test) == MNIST_TEST_IMAGES:
            kept = np.setdiff1d(np.arange(len(test)), DISPUTED)
            right = answers[name][kept].argmax(axis=1) == test.labels[kept]
            metrics[f"{name}.test.accuracy_undisputed"] = float(right.mean())
    metrics |= compare(answers, test.labels)
    metrics |= judge_robustness(networks, answers, test, config)
    save_contradicted(answers, test, config.disputed_confidence)
    explain_networks(networks, test)
    return metrics


def judge_answers(
    name: str, network: nn.Module, answers: np.ndarray, test: Split, config: Evaluate
) -> dict[str, float]:
    """Metrics of one classifier under `NAME.test.`, calibration before and after its temperature among them."""
    report = classifier_report(answers, test.labels, config.calibration_bins)
    temperature = float(network.temperature.value)  # type: ignore[union-attr, arg-type]
    raw = without_temperature(answers, temperature)
    uncalibrated = classifier_report(raw, test.labels, config.calibration_bins).scalars
    save_confusion(
        report.confusion,
        paths.FIGURES / f"{name}_confusion.png",
        f"{name.upper()}, test accuracy {report.scalars['accuracy']:.2%}",
    )
    save_reliability(
        reliability(answers, test.labels, config.calibration_bins),
        paths.FIGURES / f"{name}_reliability.png",
        f"{name.upper()}, calibration error {report.scalars['ece']:.4f}, {uncalibrated['ece']:.4f} before scaling",
    )
    predicted = answers.argmax(axis=1)
    rows = [{"actual": int(a), "predicted": int(p)} for a, p in zip(test.labels, predicted, strict=True)]
    write_csv(paths.PLOTS / f"{name}_test.csv", rows)
    flat = dict(report.scalars)
    for key in ("precision", "recall", "f1"):
        flat |= {f"{key}.{digit}": float(value) for digit, value in enumerate(getattr(report, key))}
    flat |= {
        "temperature": temperature,
        "ece_uncalibrated": uncalibrated["ece"],
        "nll_uncalibrated": uncalibrated["nll"],
    }
    return {f"{name}.test.{key}": value for key, value in flat.items()}


def compare(answers: dict[str, np.ndarray], labels: np.ndarray) -> dict[str, float]:
    cnn_right, rnn_right = (answers[name].argmax(axis=1) == labels for name in ("cnn", "rnn"))
    comparison = mcnemar(cnn_right, rnn_right)
    return {
        "mcnemar.only_cnn_right": comparison.only_first_right,
        "mcnemar.only_rnn_right": comparison.only_second_right,
        "mcnemar.both_wrong": int((~cnn_right & ~rnn_right).sum()),
        "mcnemar.p_value": comparison.p_value,
    }


def judge_robustness(
    networks: dict[str, nn.Module], answers: dict[str, np.ndarray], test: Split, config: Evaluate
) -> dict[str, float]:
    """Corruptions, attacks and refusals: figures by classifier, and a picture of each with both in it."""
    predict = {name: partial(probabilities, network) for name, network in networks.items()}
    corrupted = corrupted_accuracy(predict, test.images, test.labels, config.seed)
    attacked = {
        name: fgsm_accuracy(network, test.images, test.labels, config.fgsm_epsilons)
        for name, network in networks.items()
    }
    selective = {name: selective_accuracy(answers[name], test.labels) for name in networks}
    metrics: dict[str, float] = {}
    for name in networks:
        found = list(corrupted[name].values())
        metrics |= {f"{name}.test.corrupted.{key}": value for key, value in corrupted[name].items()}
        metrics[f"{name}.test.corrupted_mean"] = float(np.mean(found))
        metrics[f"{name}.test.corrupted_worst"] = float(np.min(found))
        metrics |= {f"{name}.test.fgsm.{epsilon:g}": value for epsilon, value in attacked[name].items()}
        metrics[f"{name}.test.selective_area"] = float(selective[name].mean())
        metrics[f"{name}.test.coverage_at_99_9"] = coverage_at(selective[name], 0.999)
    save_robustness(corrupted, paths.FIGURES / "classifiers_corrupted.png")
    ten = first_of_each_class(test.images, test.labels, 1)
    sheet = np.concatenate([corrupt(ten, corruption, config.seed) for corruption in sorted(CORRUPTIONS)])
    save_image_grid(sheet, paths.FIGURES / "classifiers_corruptions.png", columns=10)
    save_curves(
        {name.upper(): (list(found), list(found.values())) for name, found in attacked.items()},
        paths.FIGURES / "classifiers_fgsm.png",
        "Under attack by one gradient step",
        "epsilon, of pixels in 0 to 1",
        "accuracy",
    )
    shares = np.arange(1, len(test) + 1) / len(test)
    save_curves(
        {
            name.upper(): (shares[shares >= 0.5].tolist(), found[shares >= 0.5].tolist())
            for name, found in selective.items()
        },
        paths.FIGURES / "classifiers_selective.png",
        "Refusing the least confident",
        "share of images answered",
        "accuracy on these",
    )
    return metrics


def explain_mistakes(name: str, network: nn.Module, answers: np.ndarray, test: Split, config: Evaluate) -> None:
    """The most confident mistakes, and for a few of them what the wrong answer hangs on."""
    rows = worst_mistakes(answers, test.labels, config.worst_mistakes)
    captions = [
        f"#{row}: {test.labels[row]} read as {answers[row].argmax()}\nat {answers[row].max():.1%}" for row in rows
    ]
    title = f"{name.upper()}: the most confident mistakes on the test set"
    save_captioned(test.images[rows], captions, paths.FIGURES / f"{name}_mistakes.png", title)
    few = rows[: config.explained_mistakes]
    maps = np.array([occlusion(network, test.images[row], int(answers[row].argmax())) for row in few])
    save_occlusions(test.images[few], maps, captions[: len(few)], paths.FIGURES / f"{name}_occlusion.png")


def save_contradicted(answers: dict[str, np.ndarray], test: Split, confidence: float) -> None:
    """Test images for a person to judge: both classifiers are sure that the label is wrong."""
    rows = contradicted(list(answers.values()), test.labels, confidence)
    captions = [
        f"#{row}: {test.labels[row]}, read as\n"
        + ", ".join(f"{a[row].argmax()} ({a[row].max():.0%})" for a in answers.values())
        for row in rows
    ]
    title = f"Labels that CNN and RNN both contradict at {confidence:.0%} or more"
    save_captioned(test.images[rows], captions, paths.FIGURES / "classifiers_contradicted.png", title)


def explain_networks(networks: dict[str, nn.Module], test: Split) -> None:
    """What the CNN's first layer has learned, and how the RNN's belief grows row by row."""
    digits = first_of_each_class(test.images, test.labels, 1)
    cnn = networks["cnn"]
    assert isinstance(cnn, Cnn)
    with torch.inference_mode():
        kernels, maps = cnn.first_layer(to_unit(torch.from_numpy(digits[2:3])))
    save_convolution(digits[2], kernels.detach().numpy(), maps[0].numpy(), paths.FIGURES / "cnn_first_layer.png")
    shown = [digits[digit] for digit in (2, 4, 7, 9)]
    by_row = [probabilities_by_row(networks["rnn"], image) for image in shown]
    save_by_row(shown, by_row, paths.FIGURES / "rnn_by_row.png")
