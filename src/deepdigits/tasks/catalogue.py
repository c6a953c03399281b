"""All tasks, in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deepdigits.config.release import DatasetGates
from deepdigits.gates import check_floors
from deepdigits.tasks.classifiers import CNN, RNN
from deepdigits.tasks.detector import DETECTOR
from deepdigits.tasks.fakes import FAKES
from deepdigits.tasks.gan import GAN
from deepdigits.tasks.segmenter import SEGMENTER
from deepdigits.tasks.swap import SWAP

TASKS = {task.name: task for task in (CNN, RNN, GAN, DETECTOR, SEGMENTER, SWAP, FAKES)}


def check_gates(metrics: Mapping[str, Any], gates: DatasetGates) -> list[dict[str, Any]]:
    """Hold every model's metrics against its floors; see `deepdigits.gates.check_floors`."""
    return [
        gate for name, task in TASKS.items() for gate in check_floors(name, task.rules, metrics, getattr(gates, name))
    ]
