"""Measures training on a GPU: python -m benchmarks.gpu.

First the steps of every network, through Lightning and in a bare loop; then all trainings of the pipeline in a working
copy, build/gpu, one after the other and then again, for their times and bytes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_

from benchmarks.common import Row, alternate, record, seconds
from benchmarks.networks import Data, Run, augment_of, module_of, pairs_of, train
from deepdigits.core.compute import prepare_training
from deepdigits.core.errors import UserError
from deepdigits.core.files import file_sha256
from deepdigits.core.loading import PARAMS_FILE, check, overlay, read_yaml
from deepdigits.core.measures import weights_file
from deepdigits.ops.exit import exits_cleanly
from deepdigits.ops.pipeline import pipeline_files, read_stages
from deepdigits.release.params import Params
from deepdigits.release.workspace import child_environment, prepare
from deepdigits.tasks.catalogue import TASKS
from deepdigits.tasks.classification.training import Classifier
from deepdigits.training.batches import ShuffledBatches, epoch_generator
from deepdigits.training.muon import Muon
from deepdigits.training.supervised import SupervisedTraining

PROFILE = "gpu"
COPY = Path("build/gpu")
STEPS, ROUNDS, SCENES = 400, 3, 400


@exits_cleanly
def main() -> None:
    source = Path("profiles") / f"{PROFILE}.yaml"
    params = check(overlay(read_yaml(PARAMS_FILE), read_yaml(source)), Params, f"{PARAMS_FILE} with {source}")
    prepare_training(params.compute)
    record("gpu", [*speeds(params), *stages()], params.compute.device)


def speeds(params: Params) -> list[Row]:
    """Images per second of every network, on small data: what is in the images makes no difference."""
    data = Data.small(params, SCENES)
    return [speed(name, params, data) for name in TASKS]


def speed(name: str, params: Params, data: Data) -> Row:
    def ours() -> None:
        with tempfile.TemporaryDirectory() as folder:
            train(name, params, data, Run(1, STEPS, Path(folder), params.compute))

    works: dict[str, Callable[[], object]] = {"ours": ours}
    if name not in ("gan", "swap"):  # their steps are more than a loss and an optimizer
        works["bare"] = partial(bare_loop, name, params, data)
    taken = alternate(works, ROUNDS)
    section = getattr(params, f"train_{name}")
    images = STEPS * getattr(section, "fit", section).batch_size
    what = f"{name}: images/s through Lightning, an epoch of {STEPS} steps with validation and checkpoint"
    if "bare" not in taken:
        return Row(what, f"{images / taken['ours']:.0f}", "", "", "reported", True)
    bare, ratio = f"{images / taken['bare']:.0f} (bare loop)", f"{taken['bare'] / taken['ours']:.2f}"
    return Row(what, f"{images / taken['ours']:.0f}", bare, ratio, "reported", True)


def bare_loop(name: str, params: Params, data: Data) -> None:
    section, device = getattr(params, f"train_{name}"), params.compute.device
    module = module_of(name, params, section, data)
    assert isinstance(module, Classifier | SupervisedTraining)
    net = module.net.to(device).train()
    losses = module.losses if isinstance(module, SupervisedTraining) else entropy
    fit = section.fit
    optimizer = module.optimizer if isinstance(module, Classifier) else Muon(net.parameters(), 0.001, fit.weight_decay)
    images, targets = (torch.from_numpy(array).to(device) for array in pairs_of(name, data))
    batches = ShuffledBatches(images, targets, fit.batch_size, STEPS, epoch_generator(0, 0), augment_of(name, section))
    for batch in batches:
        optimizer.zero_grad()
        losses(net, *batch)["loss"].backward()
        if fit.gradient_clip:
            clip_grad_norm_(net.parameters(), fit.gradient_clip)
        optimizer.step()
    torch.cuda.synchronize()


def entropy(net: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    return {"loss": F.cross_entropy(net(images), labels, label_smoothing=0.02)}


def stages() -> list[Row]:
    """The trainings of the pipeline, twice."""
    prepare(Path.cwd(), COPY, PROFILE)
    places = {name: file for file in pipeline_files(COPY) for name in read_stages(COPY, file)}
    for data in ("validate", "validate_scenes"):
        repro(f"{places[data]}:{data}")
    trainings = [f"{places[f'train_{name}']}:train_{name}" for name in TASKS]
    taken = [seconds(partial(repro, "--single-item", training)) for training in trainings]
    first = [file_sha256(COPY / weights_file(name)) for name in TASKS]
    for training in trainings:
        repro("--single-item", "--force", "--no-run-cache", training)
    same = sum(file_sha256(COPY / weights_file(name)) == sha256 for name, sha256 in zip(TASKS, first, strict=True))
    rows = [
        Row(f"train_{name}, the whole stage", f"{value:.0f} s", "", "", "reported", True)
        for name, value in zip(TASKS, taken, strict=True)
    ]
    what = "models with the same bytes after a second training"
    return [*rows, Row(what, f"{same}", f"{len(first)}", "", "all", same == len(first))]


def repro(*arguments: str) -> None:
    command = [sys.executable, "-m", "dvc", "repro", *arguments]
    done = subprocess.run(command, cwd=COPY, env=child_environment(), check=False)
    if done.returncode:
        raise UserError(f"dvc repro {arguments[-1]} failed in {COPY} with exit code {done.returncode}; see above.")


if __name__ == "__main__":
    main()
