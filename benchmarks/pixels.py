"""Measures the RNN that reads 784 pixels (profiles/pixels.yaml): accuracy, time, and speed against a plain LSTM."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.common import Row, alternate, record, split
from deepdigits.core.compute import use_threads
from deepdigits.core.loading import PARAMS_FILE, check, overlay, read_yaml
from deepdigits.core.statistics import wilson_interval
from deepdigits.ops.exit import exits_cleanly
from deepdigits.release.params import Params
from deepdigits.tasks.classification.fit_classifier import fit_classifier
from deepdigits.tasks.classification.inference import probabilities
from deepdigits.tasks.rnn.config import TrainRnn
from deepdigits.tasks.rnn.s4d import PixelRnn
from deepdigits.tasks.rnn.training import rnn_to_train
from deepdigits.training.trainer import Metrics, report_epoch

PROFILE = Path("profiles/pixels.yaml")


@exits_cleanly
def main() -> None:
    params = check(overlay(read_yaml(PARAMS_FILE), read_yaml(PROFILE)), Params, str(PROFILE))
    use_threads(params.compute.threads)
    record("pixels", [against_lstm(params.train_rnn), accuracy(params.train_rnn)])


def accuracy(config: TrainRnn) -> Row:
    test = split("test")
    make = partial(rnn_to_train, config.net, config.fit)

    def report(epoch: int, metrics: Metrics) -> None:
        report_epoch("pixels", epoch, config.fit.epochs, metrics)

    start = time.perf_counter()
    network = fit_classifier(make, split("train"), split("validation"), config.fit, report)
    minutes = (time.perf_counter() - start) / 60
    right = int((probabilities(network, test.images).argmax(axis=1) == test.labels).sum())
    low, high = wilson_interval(right, len(test))
    share = right / len(test)
    return Row(
        f"test accuracy, {config.fit.epochs} epochs, one seed",
        f"{share:.2%} ({low:.2%} to {high:.2%}) in {minutes:.1f} min",
        "98.9 % (published LSTM), 99.6 % (S4; GPU hours)",
        "",
        ">= 98.0 % in <= 25 min",
        share >= 0.98 and minutes <= 25,
    )


class PixelLstm(nn.Module):
    """What a tutorial would build: one LSTM over 784 pixels, of the same width."""

    def __init__(self, hidden: int):
        super().__init__()
        self.recurrence = nn.LSTM(1, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        states, _ = self.recurrence(images.flatten(1).unsqueeze(2))
        logits: torch.Tensor = self.head(states[:, -1])
        return logits


def against_lstm(config: TrainRnn) -> Row:
    images = torch.rand(config.fit.batch_size, 1, 28, 28)
    labels = torch.randint(10, (config.fit.batch_size,))

    def step(network: nn.Module) -> None:
        F.cross_entropy(network(images), labels).backward()

    ours, lstm = PixelRnn(config.net).train(), PixelLstm(config.net.hidden).train()
    taken = alternate({"ours": lambda: step(ours), "lstm": lambda: step(lstm)}, 5)
    rate = {name: config.fit.batch_size / value for name, value in taken.items()}
    return Row(
        f"images/s of a training step ({config.net.layers} layers of {config.net.hidden}; the LSTM has one)",
        f"{rate['ours']:.0f}",
        f"{rate['lstm']:.0f} (torch.nn.LSTM over 784 steps)",
        f"{rate['ours'] / rate['lstm']:.1f}x",
        "reported",
        True,
    )


if __name__ == "__main__":
    main()
