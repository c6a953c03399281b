"""Train and judge with several seeds: python -m benchmarks.seeds (about an hour and a half on two cores).

Runs the real pipeline up to `evaluate` in a working copy, build/seeds, once per seed; its cache is the repository's, so
what has been run before is not run again. Choices of models are not made here: these are test figures.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from benchmarks.common import RESULTS, environment
from deepdigits.config.loading import PARAMS_FILE, check, overlay, read_yaml
from deepdigits.config.params import Params
from deepdigits.errors import UserError, exits_cleanly
from deepdigits.files import read_json, write_json
from deepdigits.lineage import git_state
from deepdigits.workspace import child_environment, prepare

CLASSIFIER_SEEDS, GAN_SEEDS = 5, 3
COPY = Path("build/seeds")
FIGURES = {
    "CNN, test accuracy": ("cnn.test.accuracy", CLASSIFIER_SEEDS),
    "CNN, calibration error": ("cnn.test.ece", CLASSIFIER_SEEDS),
    "CNN, mean over 15 corruptions": ("cnn.test.corrupted_mean", CLASSIFIER_SEEDS),
    "CNN, worst corruption": ("cnn.test.corrupted_worst", CLASSIFIER_SEEDS),
    "RNN, test accuracy": ("rnn.test.accuracy", CLASSIFIER_SEEDS),
    "RNN, calibration error": ("rnn.test.ece", CLASSIFIER_SEEDS),
    "RNN, mean over 15 corruptions": ("rnn.test.corrupted_mean", CLASSIFIER_SEEDS),
    "GAN, FID over the real-real floor": ("gan.fid_ratio", GAN_SEEDS),
    "GAN, coverage": ("gan.coverage", GAN_SEEDS),
    "GAN, classification accuracy score": ("gan.synthetic_accuracy", GAN_SEEDS),
    "GAN, read as the digit asked for": ("gan.class_accuracy", GAN_SEEDS),
    "GAN, the same, worst digit": ("gan.class_accuracy_min", GAN_SEEDS),
    "GAN, nearest training image, over real": ("gan.novelty", GAN_SEEDS),
    "GAN, fool rate, own discriminator": ("gan.fool_rate", GAN_SEEDS),
    "GAN, fool rate, fresh discriminator": ("gan.fool_rate_fresh", GAN_SEEDS),
}


@exits_cleanly
def main() -> None:
    prepare(Path.cwd(), COPY, "default")
    head, dirty = git_state()
    commit = head[:12] + " with changes" * dirty
    cache = str(Path(".dvc/cache").resolve())
    _dvc("config", "--local", "cache.dir", cache).check_returncode()
    shipped = read_yaml(COPY / PARAMS_FILE)
    metrics = [evaluate(shipped, 0)]
    for index in range(1, CLASSIFIER_SEEDS):
        # What is known is written after each, since each takes a quarter of an hour.
        metrics.append(evaluate(shipped, index))
        rows = {title: summarise([found[key] for found in metrics[:count]]) for title, (key, count) in FIGURES.items()}
        write_json(RESULTS / "seeds.json", {"commit": commit, "rows": rows, "environment": environment()})
    print(json.dumps(rows, indent=2))


def evaluate(shipped: dict[str, Any], index: int) -> dict[str, Any]:
    """Run the pipeline with every seed moved on by 100 * index; the GAN's only as often as it is counted."""
    step, gan_step = 100 * index, 100 * min(index, GAN_SEEDS - 1)
    seeds = {
        "train_cnn": {"fit": {"seed": shipped["train_cnn"]["fit"]["seed"] + step}},
        "train_rnn": {"fit": {"seed": shipped["train_rnn"]["fit"]["seed"] + step}},
        "train_gan": {"seed": shipped["train_gan"]["seed"] + gan_step},
    }
    params = overlay(shipped, seeds)
    check(params, Params, f"{PARAMS_FILE} with other seeds")
    with (COPY / PARAMS_FILE).open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(params, file)
    if _dvc("repro", "evaluate").returncode:
        raise UserError(f"The pipeline failed with seeds moved by {step}; see above.")
    return dict(read_json(COPY / "reports/metrics/evaluate.json"))


def _dvc(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=COPY, env=child_environment(), check=False)


def summarise(values: list[float]) -> dict[str, Any]:
    return {
        "mean": statistics.mean(values),
        "deviation": statistics.stdev(values),
        "least": min(values),
        "most": max(values),
        "seeds": len(values),
    }


if __name__ == "__main__":
    main()
