"""The interface between a task and the code that packages, registers and promotes its model."""

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

Rules = Mapping[str, tuple[str, int]]  # floor in params.yaml -> (measure, +1 if higher is better, else -1)
Judges = Mapping[str, Any]  # task name -> its registered model, opened with that task's `open`
Rows = list[tuple[str, str]]  # (metric, value) pairs, formatted for a reader


@dataclass(frozen=True)
class Reading:
    """The digits a classifier predicts for the test images, and the true ones, int64 `(n,)` each."""

    digits: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Samples:
    """A generator's samples: the features of the samples and of real images, `(n, d)` each.

    `covered`, bool `(n,)`, says which real images the samples cover.
    """

    features: np.ndarray
    real: np.ndarray
    covered: np.ndarray


@dataclass(frozen=True)
class Statistic:
    """One measure over `count` test images; `value` computes it for per-image weights `(count,)`."""

    name: str
    value: Callable[[np.ndarray], float]
    count: int


@dataclass(frozen=True)
class EvaluationResult:
    """How a packaged model performs on the test data.

    Attributes:
        measures: named as in the evaluation.
        evidence: the basis for comparing two models.
    """

    measures: dict[str, float]
    evidence: Reading | Samples | Statistic


@dataclass(frozen=True)
class Interface:
    """How MLflow serves the model: the code shipped with it, its signature, and an example from the golden inputs."""

    code: str
    signature: ModelSignature
    example: Callable[[Arrays], Any]


@dataclass(frozen=True)
class Task:
    """One model of the pipeline. Its model card template is tasks/NAME/card.md.j2.

    Attributes:
        evaluation: how the model is evaluated.
        exported: network -> the module to export to ONNX.
        golden_inputs: number of examples -> inputs by name, from validation data.
        rules: floor in params.yaml -> (measure, +1 if higher is better, else -1).
        headlines: measures shown as tags on a registered version.
        figures: training and evaluation metrics, without the model's name as prefix -> rows of the card and report.
        interface: see `Interface`.
        title: the heading of its section on the report page.
        pictures: the figures in that section: file in reports/figures/NAME -> caption.
        open: ONNX file and number of threads -> packaged model.
        score: packaged model, its data by split, the judges and the section `evaluate` -> evaluation result.
        splits: the splits of its data that `score` needs, including test.
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
