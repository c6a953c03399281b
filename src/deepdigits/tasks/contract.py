"""What a task tells the stages that package and register its model, and the promotion that compares two of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import ModelSignature
from torch import nn

from deepdigits.export.onnx import Arrays, Exported
from deepdigits.tasks.config import Evaluate
from deepdigits.tasks.evaluation import Data, Evaluation

Rules = Mapping[str, tuple[str, int]]  # floor in params.yaml: (measure, +1 where more is better)
Judges = Mapping[str, Any]  # registered models by name of their task, each as its task opens it
Rows = list[tuple[str, str]]  # what was measured, and its value, for a reader


@dataclass(frozen=True)
class Reading:
    """The digits that a classifier reads in the test images, and the true ones, int64 `(n,)` each."""

    digits: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Samples:
    """What a generator draws: the features of its samples and of real images `(n, d)`, and which real images the
    samples cover, bool `(n,)`."""

    features: np.ndarray
    real: np.ndarray
    covered: np.ndarray


@dataclass(frozen=True)
class Statistic:
    """One measure of `count` test images: `value` maps how often each of them counts, `(count,)`, to it."""

    name: str
    value: Callable[[np.ndarray], float]
    count: int


@dataclass(frozen=True)
class EvaluationResult:
    """What a packaged model is worth on the test data.

    Attributes:
        measures: as those of the evaluation.
        evidence: what two models are compared by.
    """

    measures: dict[str, float]
    evidence: Reading | Samples | Statistic


@dataclass(frozen=True)
class Interface:
    """How MLflow serves the model: the module that travels with it, its signature, and an example made from the golden
    inputs."""

    code: str
    signature: ModelSignature
    example: Callable[[Arrays], Any]


@dataclass(frozen=True)
class Task:
    """One model of the pipeline. Its model card is tasks/NAME/card.md.j2.

    Attributes:
        evaluation: how it is evaluated.
        exported: the network -> what the ONNX file answers.
        golden_inputs: how many -> inputs by name, from validation data.
        rules: floors in params.yaml: (the measure, +1 where more is better).
        headlines: measures that a registered version shows as tags.
        figures: the metrics of training and evaluation, without the model's name -> rows of card and report.
        interface: see there.
        title: of its section on the report page.
        pictures: what that section shows: files in reports/figures/NAME, and what they are.
        open: the ONNX file and a number of threads -> the packaged model.
        score: the packaged model, its test data by split, the judges and the section `evaluate` -> what it is worth.
        splits: of its data, that `score` is given; the test data are among them.
    """

    evaluation: Evaluation
    exported: Callable[[Any], Exported]
    golden_inputs: Callable[[int], Arrays]
    rules: Rules
    headlines: tuple[str, ...]
    figures: Callable[[Mapping[str, Any]], Rows]
    interface: Interface
    title: str
    pictures: Mapping[str, str]
    open: Callable[[Path, int], Any]
    score: Callable[[Any, Mapping[str, Any], Judges, Evaluate], EvaluationResult]
    splits: tuple[str, ...] = field(default=("test",))

    @property
    def name(self) -> str:
        return self.evaluation.name

    @property
    def data(self) -> Data:
        return self.evaluation.data

    @property
    def load(self) -> Callable[[Path], nn.Module]:
        return self.evaluation.load

    @property
    def judges(self) -> Mapping[str, str]:
        return self.evaluation.judges
