"""The part of a task that the `evaluate` stages need, without packaging and reporting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from deepdigits.core import paths
from deepdigits.tasks.config import Evaluate


@dataclass(frozen=True)
class Data:
    """The data a task is trained and tested on."""

    manifest: Path
    verdict: Path


IMAGES = Data(paths.MANIFEST, paths.VERDICT)
SCENES = Data(paths.SCENE_MANIFEST, paths.SCENE_VERDICT)


@dataclass(frozen=True)
class Evaluation:
    """How one model is evaluated.

    Attributes:
        name: the model's name, as in models/NAME, the stage train_NAME and the registered model DATASET-NAME.
        data: what the model is trained and tested on.
        load: weights file -> network.
        evaluate: network, folder for figures, and the section `evaluate` -> measures on the test data.
        summary: these measures -> one line for a reader.
        judges: other tasks whose models take part in the evaluation -> what each of them does, for a reader.
    """

    name: str
    data: Data
    load: Callable[[Path], nn.Module]
    evaluate: Callable[[Any, Path, Evaluate], dict[str, float]]
    summary: Callable[[Mapping[str, Any]], str]
    judges: Mapping[str, str] = field(default_factory=dict)
