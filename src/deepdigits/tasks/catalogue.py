"""All tasks, in the order in which they are shown."""

from __future__ import annotations

from deepdigits.tasks.cnn.task import CNN
from deepdigits.tasks.detector.task import DETECTOR
from deepdigits.tasks.fakes.task import FAKES
from deepdigits.tasks.gan.task import GAN
from deepdigits.tasks.rnn.task import RNN
from deepdigits.tasks.segmenter.task import SEGMENTER
from deepdigits.tasks.swap.task import SWAP

TASKS = {task.name: task for task in (CNN, RNN, GAN, DETECTOR, SEGMENTER, SWAP, FAKES)}
