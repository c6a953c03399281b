"""Measures the steps of every training on a GPU, through Lightning and in a bare loop: python -m benchmarks.gpu."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_

from benchmarks.common import Row, alternate, record
from benchmarks.networks import Data, Run, augment_of, module_of, pairs_of, train
from deepdigits.core.compute import prepare_training
from deepdigits.core.loading import PARAMS_FILE, check, overlay, read_yaml
from deepdigits.ops.exit import exits_cleanly
from deepdigits.release.params import Params
from deepdigits.tasks.catalogue import TASKS
from deepdigits.tasks.classification.training import Classifier
from deepdigits.training.batches import ShuffledBatches, epoch_generator
from deepdigits.training.muon import Muon
from deepdigits.training.supervised import SupervisedTraining

PROFILE = Path("profiles/gpu.yaml")
STEPS, ROUNDS, SCENES = 100, 1, 400


@exits_cleanly
def main() -> None:
    params = check(overlay(read_yaml(PARAMS_FILE), read_yaml(PROFILE)), Params, f"{PARAMS_FILE} with {PROFILE}")
    prepare_training(params.compute)
    data = Data.small(params, SCENES)  # what is in the images makes no difference
    record("gpu", [speed(name, params, data) for name in TASKS], params.compute.device)


def speed(name: str, params: Params, data: Data) -> Row:
    """Images per second of one network."""

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


if __name__ == "__main__":
    main()
