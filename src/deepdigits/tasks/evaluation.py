"""What the stages that evaluate a model need of its task, and nothing of what packages or reports it."""

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
    """The data that a task is trained and tested on."""

    manifest: Path
    verdict: Path


IMAGES = Data(paths.MANIFEST, paths.VERDICT)
SCENES = Data(paths.SCENE_MANIFEST, paths.SCENE_VERDICT)


@dataclass(frozen=True)
class Evaluation:
    """How one model is evaluated.

    Attributes:
        name: of the model: models/NAME, the stage train_NAME, the registered model DATASET-NAME.
        data: what it is trained and tested on.
        load: the weights file -> the network.
        evaluate: the network, a folder for pictures, and the section `evaluate` -> measures of the test data.
        summary: these measures -> one line for a reader.
        judges: the tasks whose models take part in the evaluation, and what each of them does, for a reader.
    """

    name: str
    data: Data
    load: Callable[[Path], nn.Module]
    evaluate: Callable[[Any, Path, Evaluate], dict[str, float]]
    summary: Callable[[Mapping[str, Any]], str]
    judges: Mapping[str, str] = field(default_factory=dict)
