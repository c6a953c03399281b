"""Trains and evaluates on the three sets of data beside MNIST that datasets/ describes.

    python -m benchmarks.own_data [fashion | breast | spoken]

Runs the real pipeline through its evaluations in working copies, build/own-NAME, for the sets that
datasets/NAME.yaml describes: once on Fashion-MNIST, with five seeds on BreastMNIST, and on the spoken digits with each
of the six speakers left out in turn, and with a random split. All figures are of test images and chose nothing.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, Row, read_results, record
from deepdigits.core import paths
from deepdigits.core.errors import UserError
from deepdigits.core.files import read_json, write_text
from deepdigits.core.loading import PARAMS_FILE, overlay, read_yaml
from deepdigits.core.measures import measures_of
from deepdigits.ops.exit import exits_cleanly
from deepdigits.release.generated import as_yaml
from deepdigits.release.workspace import child_environment, prepare

SPEAKERS = ("s1", "s2", "s3", "s4", "s5", "s6")
PARAMS = str(PARAMS_FILE)
TITLES = {"fashion": "Fashion-MNIST", "breast": "BreastMNIST", "spoken": "spoken digits"}
MODELS = ("cnn", "rnn")
Figures = dict[str, dict[str, float]]  # by model and measure
Changes = Mapping[str, Mapping[str, Any]]  # by file


@exits_cleanly
def main() -> None:
    wanted = sys.argv[1:] or list(TITLES)
    if unknown := sorted(set(wanted) - set(TITLES)):
        raise UserError(f"There is no set {unknown[0]!r}; there are {', '.join(TITLES)}.")
    for name in wanted:
        rows = ROWS[name]()
        known = read_results("own_data")["rows"] if (RESULTS / "own_data.json").is_file() else []
        others = [Row(**row) for row in known if not row["what"].startswith(TITLES[name])]  # type: ignore[attr-defined]
        order = list(TITLES.values())
        record("own_data", sorted([*others, *rows], key=lambda row: order.index(row.what.partition(":")[0])))


def fashion() -> list[Row]:
    (figures,) = trained("fashion", [{}], ("evaluate@cnn", "evaluate@rnn", "evaluate_gan"))
    gan = figures["gan"]
    return [
        row("fashion", "CNN, accuracy", [figures["cnn"]["accuracy"]], 0.935),
        row("fashion", "RNN, accuracy", [figures["rnn"]["accuracy"]], 0.905),
        row("fashion", "GAN, coverage", [gan["coverage"]]),
        row("fashion", "GAN, read as the requested class", [gan["class_accuracy"]]),
    ]


def breast() -> list[Row]:
    changes = [
        {PARAMS: {f"train_{model}": {"fit": {"seed": 100 * number + place}} for place, model in enumerate(MODELS)}}
        for number in range(1, 6)
    ]
    found = trained("breast", changes)
    resnet = "ResNet-18 of MedMNIST at 28 px: "
    return [
        row(
            "breast", "CNN, area under the ROC curve", [one["cnn"]["roc_auc"] for one in found], 0.90, f"{resnet}0.901"
        ),
        row("breast", "CNN, lower end of its 95 % interval", [one["cnn"]["roc_auc_low"] for one in found]),
        row("breast", "CNN, upper end of its 95 % interval", [one["cnn"]["roc_auc_high"] for one in found]),
        row("breast", "CNN, accuracy", [one["cnn"]["accuracy"] for one in found], peer=f"{resnet}0.863"),
        row("breast", "RNN, area under the ROC curve", [one["rnn"]["roc_auc"] for one in found]),
        row("breast", "always the larger class, accuracy", [found[0]["cnn"]["baseline_accuracy"]]),
    ]


def spoken() -> list[Row]:
    left_out = [
        {"held_out": {"test": [test], "validation": [SPEAKERS[(place + 1) % len(SPEAKERS)]]}}
        for place, test in enumerate(SPEAKERS)
    ]
    random: dict[str, Any] = {
        "group": None,
        "held_out": {"test": [], "validation": []},
        "test": 500,
        "validation": 500,
    }
    *unheard, heard = trained("spoken", [{"datasets/spoken.yaml": {"split": split}} for split in (*left_out, random)])
    return [
        part
        for model in MODELS
        for part in (
            row(
                "spoken",
                f"{model.upper()}, accuracy on each speaker never heard",
                [one[model]["accuracy"] for one in unheard],
                0.90 if model == "cnn" else None,
            ),
            row("spoken", f"{model.upper()}, accuracy with a random split", [heard[model]["accuracy"]]),
        )
    ]


def trained(
    name: str, changes: Sequence[Changes], stages: Sequence[str] = ("evaluate@cnn", "evaluate@rnn")
) -> list[Figures]:
    """Run the stages with each of the changes to the set's files, and return the figures."""
    copy = Path(f"build/own-{name}")
    prepare(Path.cwd(), copy, "default", name)
    files = {file: read_yaml(copy / file) for file in {file for change in changes for file in change}}
    models = [stage.removeprefix("evaluate")[1:] for stage in stages]
    found = []
    for change in changes:
        for file, original in files.items():
            write_text(copy / file, as_yaml(overlay(original, dict(change.get(file, {})))))
        command = [sys.executable, "-m", "dvc", "repro", *stages]
        if subprocess.run(command, cwd=copy, env=child_environment(), check=False).returncode:
            raise UserError(f"dvc repro failed in {copy}; see above.")
        found.append({model: measures_of(model, read_json(copy / paths.evaluation_file(model))) for model in models})
    return found


def row(name: str, what: str, values: Sequence[float], target: float | None = None, peer: str = "") -> Row:
    mean = statistics.mean(values)
    spread = f" ({min(values):.4f} to {max(values):.4f}, {len(values)} trainings)" if len(values) > 1 else ""
    return Row(
        f"{TITLES[name]}: {what}",
        f"{mean:.4f}{spread}",
        peer,
        "",
        "reported" if target is None else f">= {target:g}",
        target is None or mean >= target,
    )


ROWS = {"fashion": fashion, "breast": breast, "spoken": spoken}

if __name__ == "__main__":
    main()
