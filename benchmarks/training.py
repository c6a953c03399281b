"""Measures the CNN's training: Lightning against a bare loop, its arithmetic against matmul, and its time to 99 %."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import Adadelta
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import Row, alternate, record, seconds, split
from deepdigits.core.compute import use_threads
from deepdigits.core.loading import read_params
from deepdigits.data.digits.splits import Split
from deepdigits.nn.prediction import to_unit
from deepdigits.ops.exit import exits_cleanly
from deepdigits.release.params import Params
from deepdigits.tasks.classification.augmentation import augment
from deepdigits.tasks.classification.fit_classifier import fit_classifier, ignore_epoch
from deepdigits.tasks.classification.inference import probabilities
from deepdigits.tasks.cnn.network import Cnn
from deepdigits.tasks.cnn.training import cnn_to_train
from deepdigits.training.batches import ShuffledBatches, epoch_generator
from deepdigits.training.muon import Muon

STEPS, ROUNDS, WANTED = 60, 3, 0.99


@exits_cleanly
def main() -> None:
    params = read_params(Params)
    use_threads(params.compute.threads)
    train, test = split("train"), split("test")
    record(
        "training", [against_bare_loop(params, train), against_matmul(params), time_to_accuracy(params, train, test)]
    )


def against_bare_loop(params: Params, train: Split) -> Row:
    config = params.train_cnn.fit.model_copy(update={"epochs": 1, "steps_per_epoch": STEPS})

    def bare() -> None:
        net = Cnn(params.train_cnn.net).train()
        optimizer = Muon(net.parameters(), config.max_learning_rate, config.weight_decay)
        change = partial(augment, config=config.augmentation)
        tensors = torch.from_numpy(train.images), torch.from_numpy(train.labels)
        for images, labels in ShuffledBatches(*tensors, config.batch_size, STEPS, epoch_generator(0, 0), change):
            optimizer.zero_grad()
            F.cross_entropy(net(images), labels, label_smoothing=config.label_smoothing).backward()
            optimizer.step()

    few = train.take(np.arange(1000))
    make = partial(cnn_to_train, params.train_cnn.net, config)
    taken = alternate({"ours": lambda: fit_classifier(make, train, few, config, ignore_epoch), "bare": bare}, ROUNDS)
    images = STEPS * config.batch_size
    ratio = taken["bare"] / taken["ours"]
    return Row(
        "CNN, images/s through Lightning, an epoch of 60 steps with validation and checkpoint",
        f"{images / taken['ours']:.0f}",
        f"{images / taken['bare']:.0f} (bare loop)",
        f"{ratio:.3f}",
        ">= 0.92",
        ratio >= 0.92,
    )


def against_matmul(params: Params) -> Row:
    config = params.train_cnn
    net = Cnn(config.net).train()
    optimizer = Muon(net.parameters(), 0.01, 0.01)
    images, labels = torch.rand(config.fit.batch_size, 1, 28, 28), torch.randint(10, (config.fit.batch_size,))
    square = torch.randn(2048, 2048)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(net(images), labels).backward()
        optimizer.step()

    with FlopCounterMode(display=False) as counter:
        step()
    taken = alternate({"step": lambda: repeat(step, 10), "matmul": lambda: repeat(lambda: square @ square, 10)}, 5)
    ours, peer = 10 * counter.get_total_flops() / taken["step"], 10 * 2 * 2048**3 / taken["matmul"]
    return Row(
        "CNN, arithmetic of a training step",
        f"{ours / 1e9:.0f} GFLOP/s",
        f"{peer / 1e9:.0f} GFLOP/s (2048x2048 matmul, fp32)",
        f"{ours / peer:.2f}",
        ">= 0.60",
        ours / peer >= 0.60,
    )


def repeat(work: Any, times: int) -> None:
    for _ in range(times):
        work()


def time_to_accuracy(params: Params, train: Split, test: Split) -> Row:
    """Our network and trainer on a schedule of seconds, against the network and loop of PyTorch's basic example."""
    plain = params.train_cnn.fit.augmentation.model_copy(update={"textured_fraction": 0.0})
    config = params.train_cnn.fit.model_copy(update={"epochs": 1, "steps_per_epoch": 300, "augmentation": plain})
    few = train.take(np.arange(1000))
    make = partial(cnn_to_train, params.train_cnn.net, config)
    trained: list[nn.Module] = []
    ours = seconds(lambda: trained.append(fit_classifier(make, train, few, config, ignore_epoch)))
    accuracy = float((probabilities(trained[0], test.images).argmax(axis=1) == test.labels).mean())
    peer, peer_accuracy, epochs = basic_example(train, test)
    ratio = peer / ours
    return Row(
        f"seconds of training to {WANTED:.0%} test accuracy, from scratch",
        f"{ours:.1f} s ({accuracy:.2%})",
        f"{peer:.1f} s ({peer_accuracy:.2%} after {epochs} epochs; PyTorch's basic MNIST example)",
        f"{ratio:.1f}x",
        ">= 4x",
        ratio >= 4 and accuracy >= WANTED,
    )


class BasicExample(nn.Module):
    """Two 3x3 convolutions of 32 and 64 channels, pooling, dropout, and a dense layer of 128 units."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25),
            nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10),
        )  # fmt: skip

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers((images - 0.1307) / 0.3081)
        return logits


def basic_example(train: Split, test: Split, most: int = 6) -> tuple[float, float, int]:
    """Train to 99 % accuracy, or for `most` epochs; return the seconds of training alone, the accuracy and the epochs.

    The images are tensors in memory, which spares it the decoding that the original example does.
    """
    torch.manual_seed(0)
    net = BasicExample()
    optimizer = Adadelta(net.parameters(), lr=1.0)
    schedule = StepLR(optimizer, 1, gamma=0.7)
    data = TensorDataset(to_unit(torch.from_numpy(train.images)), torch.from_numpy(train.labels))

    def epoch() -> None:
        net.train()
        for images, labels in DataLoader(data, 64, shuffle=True):
            optimizer.zero_grad()
            F.cross_entropy(net(images), labels).backward()
            optimizer.step()
        schedule.step()

    taken, accuracy, epochs = 0.0, 0.0, 0
    while accuracy < WANTED and epochs < most:
        taken += seconds(epoch)
        epochs += 1
        accuracy = float((probabilities(net.eval(), test.images).argmax(axis=1) == test.labels).mean())
    return taken, accuracy, epochs


if __name__ == "__main__":
    main()
