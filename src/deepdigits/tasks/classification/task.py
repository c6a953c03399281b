"""Classification, "Which digit is it?": the parts of the task that the CNN and the RNN share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from torch import Tensor, nn

from deepdigits.core import paths
from deepdigits.data.digits.splits import Split, load_split
from deepdigits.export.onnx import Arrays, Exported
from deepdigits.export.pyfunc import classifier
from deepdigits.export.runtime import OnnxClassifier
from deepdigits.nn.prediction import to_unit
from deepdigits.tasks.classification.evaluation import robustness_measures
from deepdigits.tasks.classification.metrics import classifier_report
from deepdigits.tasks.classification.uneven import uneven_measures
from deepdigits.tasks.config import Evaluate
from deepdigits.tasks.contract import EvaluationResult, Interface, Judges, Reading, Rows, Task
from deepdigits.tasks.evaluation import Evaluation


class ExportedClassifier(Exported):
    """images uint8 `(n, 28, 28)` -> label int64 `(n,)`, probabilities float32 `(n, k)`."""

    input_names = ("images",)
    output_names = ("label", "probabilities")

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return label_and_probabilities(self.network(to_unit(images)))


def label_and_probabilities(logits: Tensor) -> tuple[Tensor, Tensor]:
    probabilities = logits.softmax(dim=1)
    return probabilities.argmax(dim=1), probabilities


def golden_inputs(count: int) -> Arrays:
    return {"images": load_split(paths.split_file("validation")).images[:count]}


def score(
    classifier: OnnxClassifier, splits: Mapping[str, Split], _judges: Judges, config: Evaluate
) -> EvaluationResult:
    """Compute the measures that the floors and promotion need, and the predicted digits."""
    test = splits["test"]
    answers = classifier.probabilities(test.images)
    measures = {
        **classifier_report(answers, test.labels, config.calibration_bins).scalars,
        **uneven_measures(answers, test.labels, config.seed),
        **robustness_measures(classifier.probabilities, test, config.seed),
    }
    return EvaluationResult(measures, Reading(answers.argmax(axis=1), test.labels))


MEANS = {
    "balanced_accuracy": "mean recall of the classes (95 % bootstrap interval)",
    "macro_f1": "mean F1 of the classes",
    "roc_auc": "mean area under the ROC curve, each class against the rest",
    "average_precision": "mean average precision, each class against the rest",
}


def _with_interval(m: Mapping[str, Any], key: str) -> str:
    return f"{m[f'test.{key}']:.4f} ({m[f'test.{key}_low']:.4f} to {m[f'test.{key}_high']:.4f})"


def figures(m: Mapping[str, Any]) -> Rows:
    low, high = m["test.accuracy_low"], m["test.accuracy_high"]
    rows = [
        ("test accuracy (95 % Wilson interval)", f"{m['test.accuracy']:.2%} ({low:.2%} to {high:.2%})"),
        ("test errors", f"{m['test.errors']:.0f}"),
        ("the same of always answering the largest class", f"{m['test.baseline_accuracy']:.2%}"),
        *((title, _with_interval(m, key)) for key, title in MEANS.items()),
        ("lowest recall of any class", f"{m['test.min_class_recall']:.4f}"),
        ("negative log-likelihood, nats", f"{m['test.nll']:.4f}"),
        (
            "expected calibration error: after, before temperature scaling",
            f"{m['test.ece']:.4f}, {m['test.ece_uncalibrated']:.4f}",
        ),
        ("temperature (fitted on validation, part of the model)", f"{m['test.temperature']:.3f}"),
        ("share of images that can be answered at 99.9 % accuracy", f"{m['test.coverage_at_99_9']:.3f}"),
        (
            "accuracy under fifteen corruptions: mean, worst",
            f"{m['test.corrupted_mean']:.2%}, {m['test.corrupted_worst']:.2%}",
        ),
        ("validation accuracy", f"{m['val.accuracy']:.2%}"),
        ("parameters", f"{m['parameters']:,}"),
    ]
    if "test.accuracy_undisputed" in m:
        text = "accuracy without the fifteen test images whose labels are disputed in a public relabelling"
        rows.insert(1, (text, f"{m['test.accuracy_undisputed']:.2%}"))
    return rows


RULES = {
    "min_accuracy": ("accuracy", +1),
    "min_class_recall": ("min_class_recall", +1),
    "max_calibration_error": ("ece", -1),
    "min_corrupted_accuracy": ("corrupted_mean", +1),
    "min_balanced_accuracy": ("balanced_accuracy", +1),
    "min_macro_f1": ("macro_f1", +1),
    "min_roc_auc": ("roc_auc", +1),
    "min_average_precision": ("average_precision", +1),
}
INTERFACE = Interface(
    classifier.__file__,
    ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("uint8"), (-1, 28, 28))]),
        outputs=Schema(
            [
                TensorSpec(np.dtype("int64"), (-1,), "label"),
                TensorSpec(np.dtype("float32"), (-1, -1), "probabilities"),
            ]
        ),
    ),
    lambda golden: golden["images"][:2],
)
PICTURES = {
    "confusion.png": "Confusion counts; errors are coloured.",
    "reliability.png": "Calibration: is it right as often as it is confident?",
    "mistakes.png": "The most confident mistakes, with their index in the test set.",
    "occlusion.png": "Red: blanking the 5x5 pixels around this point makes the wrong answer less likely.",
}


def classifier_task(
    evaluation: Evaluation, exported: Callable[[Any], Exported], title: str, pictures: Mapping[str, str]
) -> Task:
    """Build the task of one classifier; `pictures` are shown in addition to the common ones."""
    return Task(
        evaluation=evaluation,
        exported=exported,
        golden_inputs=golden_inputs,
        rules=RULES,
        headlines=("test/accuracy", "test/errors", "test/ece"),
        figures=figures,
        interface=INTERFACE,
        title=title,
        pictures={**pictures, **PICTURES},
        open=OnnxClassifier,
        score=score,
    )
