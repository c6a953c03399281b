"""Training on another device or in another precision. The tests with a GPU are skipped where torch finds none."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from benchmarks import networks
from benchmarks.networks import Data, Run
from deepdigits.core.compute import prepare_training
from deepdigits.core.errors import UserError
from deepdigits.core.loading import read_params
from deepdigits.core.sections import Compute
from deepdigits.release.params import Params
from deepdigits.tasks.catalogue import TASKS
from deepdigits.tasks.gan.monitor import ValidationMeasures
from deepdigits.training.trainer import Fitted
from tests.unit.test_training import KillAt, KilledError

CPU = Compute(threads=2, shards=1, device="cpu", precision="32")
GPU = Compute(threads=2, shards=1, device="cuda", precision="32")
EPOCHS, STEPS = 2, 5
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")
each_network = pytest.mark.parametrize("name", list(TASKS))

Train = Callable[..., Fitted]  # (name, checkpoint folder, compute, *callbacks)


@pytest.fixture(scope="module")
def train() -> Train:
    """Trains one of the networks that ship for a few steps."""
    params = read_params(Params)
    data = Data.small(params, scenes=40)

    def few_steps(name: str, folder: Path, compute: Compute, *callbacks: Callback) -> Fitted:
        prepare_training(compute)
        drawing = ValidationMeasures(data.train, data.validation, 10, params.train_gan.net, 1, folder / "grids")
        extra = [drawing, *callbacks] if name == "gan" else callbacks
        return networks.train(name, params, data, Run(EPOCHS, STEPS, folder, compute, extra))

    return few_steps


def distance(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    """The largest difference between two networks' weights."""
    assert first.keys() == second.keys()
    return max(float((first[name].double() - second[name].double()).abs().max()) for name in first)


@needs_gpu
@each_network
def test_every_network_trains_in_mixed_precision(name: str, train: Train, tmp_path: Path) -> None:
    single = train(name, tmp_path / "single", GPU)
    mixed = train(name, tmp_path / "mixed", GPU.model_copy(update={"precision": "bf16-mixed"}))
    assert all(value.dtype != torch.bfloat16 for value in mixed.state.values())
    assert distance(single.state, mixed.state) > 0
    for row, other in zip(single.history, mixed.history, strict=True):
        for key, value in row.items():
            assert math.isfinite(other[key])
            if key.endswith("/loss"):
                assert other[key] == pytest.approx(value, rel=0.1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch finds a GPU")
def test_a_gpu_that_torch_does_not_find_is_refused_before_training() -> None:
    with pytest.raises(UserError, match=r"compute.device is cuda, but torch .* Train on the CPU"):
        prepare_training(GPU)


@needs_gpu
@each_network
def test_a_gpu_repeats_its_bytes_and_resumes_to_them(name: str, train: Train, tmp_path: Path) -> None:
    whole = train(name, tmp_path / "whole", GPU)
    again = train(name, tmp_path / "again", GPU)
    assert distance(whole.state, again.state) == 0
    with pytest.raises(KilledError):
        train(name, tmp_path / "killed", GPU, KillAt(STEPS + 2))
    resumed = train(name, tmp_path / "killed", GPU)
    assert distance(whole.state, resumed.state) == 0
    assert resumed.history == whole.history


@needs_gpu
@each_network
def test_a_gpu_starts_like_the_cpu_and_its_checkpoints_resume_there(name: str, train: Train, tmp_path: Path) -> None:
    """Rounding grows with each step, so only the first epoch's figures are compared."""
    here, there = (train(name, tmp_path / compute.device, compute) for compute in (CPU, GPU))
    for key, value in here.history[0].items():
        if key.startswith("train/") and key.endswith("loss"):
            assert there.history[0][key] == pytest.approx(value, rel=0.02)
    with pytest.raises(KilledError):
        train(name, tmp_path / "killed", GPU, KillAt(STEPS + 2))
    resumed = train(name, tmp_path / "killed", CPU)
    assert resumed.history[0] == there.history[0]
    assert resumed.history[1] != there.history[1]
    assert all(np.isfinite(list(row.values())).all() for row in resumed.history)
