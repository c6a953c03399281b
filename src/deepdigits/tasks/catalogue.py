"""All tasks, in display order."""

from __future__ import annotations

from deepdigits.tasks.cnn import task as cnn
from deepdigits.tasks.contract import Task
from deepdigits.tasks.detector import task as detector
from deepdigits.tasks.fakes import task as fakes
from deepdigits.tasks.gan import task as gan
from deepdigits.tasks.rnn import task as rnn
from deepdigits.tasks.segmenter import task as segmenter
from deepdigits.tasks.swap import task as swap

_ALL: tuple[Task, ...] = tuple(module.TASK for module in (cnn, rnn, gan, detector, segmenter, swap, fakes))
TASKS = {task.name: task for task in _ALL}
