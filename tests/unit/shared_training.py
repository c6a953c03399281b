"""Train networks that ship for a few steps each: python -m tests.unit.shared_training NAME,NAME FOLDER SHARDS STEPS.

Shares each training as its stage does, and writes the history and the hash of the weights to
FOLDER/NAME/PROCESS/result.json. With KILL=step, the process ends there without a goodbye.
"""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from benchmarks import networks
from benchmarks.networks import Data, Run
from deepdigits.core.compute import prepare_training
from deepdigits.core.files import write_json
from deepdigits.core.loading import read_params
from deepdigits.core.sections import Compute
from deepdigits.ops.exit import exits_cleanly
from deepdigits.ops.launching import shares_training
from deepdigits.release.params import Params
from deepdigits.tasks.gan.monitor import ValidationMeasures
from deepdigits.training.processes import place

EPOCHS = 2


class KillAt(Callback):
    def __init__(self, step: int):
        self.left = step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), 9)


@exits_cleanly
@shares_training
def main() -> None:
    names, folder, shards, steps = sys.argv[1].split(","), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    params = read_params(Params)
    compute = Compute(threads=1, shards=shards, device="cpu", precision="32")
    prepare_training(compute)
    data = Data.small(params, scenes=40)
    for name in names:
        train(name, params, data, Run(EPOCHS, steps, folder / name / str(place().index), compute))


def train(name: str, params: Params, data: Data, run: Run) -> None:
    here = run.folder
    callbacks: list[Callback] = [KillAt(int(os.environ["KILL"]))] if os.environ.get("KILL") else []
    if name == "gan":
        drawing = ValidationMeasures(data.train, data.validation, 10, params.train_gan.net, 1, here / "grids")
        callbacks.insert(0, drawing)
    fitted = networks.train(name, params, data, replace(run, callbacks=callbacks))
    digest = hashlib.sha256()
    for key, value in sorted(fitted.state.items()):
        digest.update(key.encode() + value.contiguous().numpy().tobytes())
    write_json(here / "result.json", {"weights": digest.hexdigest(), "history": fitted.history, "of": place().count})


if __name__ == "__main__":
    main()
