"""Candidate and champion on the same test images, both measured now, from the registered files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from sklearn.neighbors import NearestNeighbors

from deepdigits.core import paths
from deepdigits.core.errors import UserError
from deepdigits.core.files import sha256
from deepdigits.data.digits.splits import Split, load_split, subset
from deepdigits.data.scenes.manifest import arrays_sha256
from deepdigits.data.scenes.scenes import Scenes, load_scenes
from deepdigits.export.runtime import OnnxClassifier, OnnxGenerator, OnnxNetwork, latencies, open_model
from deepdigits.promotion.registered import RegisteredModel
from deepdigits.promotion.rules import ClassifierScore, GeneratorScore, PairedScore
from deepdigits.tasks.classification.inference import probabilities
from deepdigits.tasks.classification.metrics import classifier_report
from deepdigits.tasks.classification.robustness import corrupted_accuracy
from deepdigits.tasks.config import Evaluate
from deepdigits.tasks.contract import Task
from deepdigits.tasks.gan.evaluation import (
    agreement_measures,
    feature_measures,
    pixel_measures,
    synthetic_measures,
)
from deepdigits.tasks.gan.synthesis import classifier_of_generated

LATENCY_IMAGES = 300


def score_classifiers(
    models: Mapping[str, RegisteredModel], test: Split, config: Evaluate, threads: int
) -> dict[str, ClassifierScore]:
    """The score of each model by role; corruptions and latency are measured of all together."""
    classifiers = {role: OnnxClassifier(model.onnx, threads) for role, model in models.items()}
    predict = {role: classifier.probabilities for role, classifier in classifiers.items()}
    corrupted = corrupted_accuracy(predict, test.images, test.labels, config.seed)
    single = [OnnxClassifier(model.onnx).session for model in models.values()]
    feeds = [{"images": test.images[row : row + 1]} for row in range(min(LATENCY_IMAGES, len(test)))]
    times = dict(zip(models, latencies(single, feeds), strict=True))
    scores = {}
    for role, model in models.items():
        answers = classifiers[role].probabilities(test.images)
        scalars = classifier_report(answers, test.labels, config.calibration_bins).scalars
        measures = {f"{model.kind}.test.{key}": value for key, value in scalars.items()}
        measures[f"{model.kind}.test.corrupted_mean"] = float(np.mean(list(corrupted[role].values())))
        read = answers.argmax(axis=1)
        scores[role] = ClassifierScore(read, measures, parameter_count(model.onnx), times[role])
    return scores


def score_generators(
    models: Mapping[str, RegisteredModel],
    judge: RegisteredModel,
    splits: Mapping[str, Split],
    config: Evaluate,
    threads: int,
) -> tuple[dict[str, GeneratorScore], np.ndarray]:
    """The score of each model by role, and the features of the real images; `judge` is the CNN whose features and
    reading count."""
    cnn = OnnxClassifier(judge.onnx, threads)
    if not cnn.has_features:
        raise UserError(f"{judge.title} gives no features to judge by. Package and promote a CNN first.")
    size = min(config.gan_samples, len(splits["validation"]), len(splits["test"]))
    real, other = (subset(splits[name], size, config.seed) for name in ("test", "validation"))
    in_real, in_other = (cnn.features(split.images) for split in (real, other))
    scores = {}
    for role, model in models.items():
        generator = OnnxGenerator(model.onnx, threads)
        fake = Split(generator.draw_many(real.labels, config.seed), real.labels)
        in_fake = cnn.features(fake.images)
        of_generated = classifier_of_generated(generator.draw_many, config.synthetic)
        measures = {
            **feature_measures(in_real, in_other, in_fake, config.neighbours),
            **pixel_measures(real, fake, splits["train"].images),
            **agreement_measures(cnn.probabilities(fake.images).argmax(axis=1), fake.labels),
            **synthetic_measures(
                probabilities(of_generated, splits["test"].images).argmax(axis=1), splits["test"].labels
            ),
        }
        scores[role] = GeneratorScore(in_fake, covered(in_real, in_fake, config.neighbours), measures)
    return scores, in_real


def covered(real: np.ndarray, fake: np.ndarray, neighbours: int) -> np.ndarray:
    """Which real images `(n,)` have a sample within the distance of their k-th real neighbour; the mean is the coverage
    (Naeem et al., 2020, arXiv:2002.09797)."""
    real, fake = real.astype(np.float64), fake.astype(np.float64)
    # The nearest neighbour of a point is itself, hence one more.
    radius = NearestNeighbors(n_neighbors=neighbours + 1).fit(real).kneighbors(real)[0][:, -1]
    nearest = NearestNeighbors(n_neighbors=1).fit(fake).kneighbors(real)[0][:, 0]
    return np.asarray(nearest < radius)


def score_paired(
    models: Mapping[str, RegisteredModel],
    task: Task,
    judges: Mapping[str, RegisteredModel],
    splits: Mapping[str, Scenes | Split],
    threads: int,
) -> dict[str, PairedScore]:
    """The score of each model of a task by role; `judges` are the registered models of `task.judges`."""
    assert task.score
    opened = {kind: open_model(kind, judge.onnx, threads) for kind, judge in judges.items()}
    inputs, count = task.inputs(splits, opened), len(splits["test"])
    single = [OnnxNetwork(model.onnx).session for model in models.values()]
    feeds = [
        {name: array[row : row + 1] for name, array in inputs.items()} for row in range(min(LATENCY_IMAGES, count))
    ]
    times = dict(zip(models, latencies(single, feeds), strict=True))
    scores = {}
    for role, model in models.items():
        judged = task.score(OnnxNetwork(model.onnx, threads).answer(inputs), splits, opened)
        measures = {f"{task.name}.test.{key}": value for key, value in judged.measures.items()}
        scores[role] = PairedScore(
            judged.name, judged.statistic, count, measures, parameter_count(model.onnx), times[role]
        )
    return scores


def frozen_scenes(manifest: Mapping[str, Any]) -> dict[str, Scenes]:
    """Load the test scenes, by the name of their split, and make sure that they are what the manifest says.

    Raises:
        UserError: the file is missing, damaged, or was changed.
    """
    scenes = load_scenes(paths.scene_file("test"))
    if arrays_sha256(scenes) != manifest["splits"]["test"]["arrays_sha256"]:
        raise UserError(
            f"{paths.scene_file('test')} is not what {paths.SCENE_MANIFEST} says. Run: dvc repro --force compose"
        )
    return {"test": scenes}


def parameter_count(path: Path) -> int:
    """Trained numbers in an ONNX file: floating-point initializers of one dimension or more."""
    arrays = (numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer)
    return sum(array.size for array in arrays if array.ndim and np.issubdtype(array.dtype, np.floating))


def frozen_splits(manifest: Mapping[str, Any], *names: str) -> dict[str, Split]:
    """Load splits, and make sure that they hold what the manifest says.

    Raises:
        UserError: a split is missing, damaged, or was changed.
    """
    splits = {name: load_split(paths.split_file(name)) for name in names}
    for name, split in splits.items():
        found = sha256(np.ascontiguousarray(split.images).tobytes()), sha256(split.labels.astype("<i8").tobytes())
        entry = manifest["splits"][name]
        if found != (entry["images_sha256"], entry["labels_sha256"]):
            raise UserError(
                f"{paths.split_file(name)} is not what {paths.MANIFEST} says. Run: dvc repro --force ingest"
            )
    return splits
