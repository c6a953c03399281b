"""What a task tells the stages that evaluate, package and register its model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import ModelSignature
from torch import nn

from deepdigits.core import paths
from deepdigits.export.onnx import Arrays, Exported
from deepdigits.export.runtime import OnnxClassifier, OnnxGenerator, OnnxNetwork

Rules = Mapping[str, tuple[str, int]]  # floor in params.yaml: (measure, +1 where more is better)
Judges = Mapping[str, OnnxClassifier | OnnxGenerator | OnnxNetwork]  # registered models by name of their task


@dataclass(frozen=True)
class Data:
    """The data that a task is trained and tested on."""

    manifest: Path
    verdict: Path


IMAGES = Data(paths.MANIFEST, paths.VERDICT)
SCENES = Data(paths.SCENE_MANIFEST, paths.SCENE_VERDICT)


@dataclass(frozen=True)
class Judged:
    """What a packaged model's answers to the test images are worth.

    Attributes:
        name: of the measure that decides a promotion.
        statistic: how often each test image counts, `(n,)` -> that measure.
        measures: all measures, as those of the evaluation.
    """

    name: str
    statistic: Callable[[np.ndarray], float]
    measures: dict[str, float]


@dataclass(frozen=True)
class Card:
    """The parts of a model card that only the task knows, in Markdown; `figures` is a Jinja template of table rows."""

    network: str
    interface: str
    use: str
    figures: str
    limits: str


@dataclass(frozen=True)
class Interface:
    """How MLflow serves the model: the module that travels with it, its signature, and an example made from the golden
    inputs."""

    code: str
    signature: ModelSignature
    example: Callable[[Arrays], Any]


def _images(splits: Mapping[str, Any], _judges: Judges) -> Arrays:
    return {"images": splits["test"].images}


@dataclass(frozen=True)
class Task:
    """One model of the pipeline.

    Attributes:
        name: of the model: models/NAME, the stage train_NAME, the registered model DATASET-NAME.
        data: what it is trained and tested on.
        metrics: the file in reports/metrics that its evaluation writes, without suffix.
        load: the weights file -> the network.
        exported: the network -> what the ONNX file answers.
        golden_inputs: how many -> inputs by name, from validation data.
        rules: floors in params.yaml: (the measure, +1 where more is better).
        headlines: measures, as MLflow names them, that a registered version shows as tags.
        summary: the measures -> one line for a reader.
        card, interface: see there.
        title: of its section on the report page, where it has one of its own.
        pictures: what that section shows: files in reports/figures/NAME, and what they are.
        evaluate: the network and a folder for pictures -> measures of the test data, where `evaluate_task` does that.
        splits: of its data, that `inputs` and `score` are given by name; the test data are among them.
        judges: the tasks whose models take part in judging this one, and what each of them does, for a reader.
        inputs: the splits and the judges -> what the packaged model is asked, by name.
        score: its answers by name, the splits and the judges -> what they are worth, where `deepdigits promote` decides
            by that.
    """

    name: str
    data: Data
    metrics: str
    load: Callable[[Path], nn.Module]
    exported: Callable[[nn.Module], Exported]
    golden_inputs: Callable[[int], Arrays]
    rules: Rules
    headlines: tuple[str, ...]
    summary: Callable[[Mapping[str, Any]], str]
    card: Card
    interface: Interface
    title: str = ""
    pictures: Mapping[str, str] = field(default_factory=dict)
    evaluate: Callable[[Any, Path], dict[str, float]] | None = None
    splits: tuple[str, ...] = ("test",)
    judges: Mapping[str, str] = field(default_factory=dict)
    inputs: Callable[[Mapping[str, Any], Judges], Arrays] = _images
    score: Callable[[Arrays, Mapping[str, Any], Judges], Judged] | None = None
