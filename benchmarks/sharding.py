"""Measures how trainings scale over processes that share each batch, with one thread each.

    python -m benchmarks.sharding

All processes train the networks that ship, with their own batch size, on small data. The time of a step is taken
between steps, so starting the processes does not count.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from benchmarks import networks
from benchmarks.common import Row, record
from benchmarks.networks import Data, Run
from deepdigits.core.compute import prepare_training
from deepdigits.core.errors import UserError
from deepdigits.core.files import read_json, write_json
from deepdigits.core.loading import read_params
from deepdigits.ops.exit import exits_cleanly
from deepdigits.ops.launching import shares_training
from deepdigits.release.params import Params
from deepdigits.training.processes import place

NAMES = ("cnn", "rnn", "segmenter")
WARM_UP, STEPS = 10, 40


class Clock(Callback):
    """The seconds that the steps after the warm-up took."""

    def __init__(self) -> None:
        self.begun = self.seconds = 0.0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == WARM_UP - 1:
            self.begun = time.perf_counter()
        self.seconds = time.perf_counter() - self.begun


@exits_cleanly
def main() -> None:
    if len(sys.argv) > 1:
        train_shared()
        return
    cores = os.cpu_count() or 1
    counts = [count for count in (1, 2, 4, 8) if count <= cores]
    rows = []
    for name in NAMES:
        alone = images_per_second(name, 1, counts[-1])
        for count in counts[1:]:
            shared = images_per_second(name, count, counts[-1])
            rows.append(
                Row(
                    f"{name}, training images/s, {count} processes of one thread",
                    f"{shared:.0f}",
                    f"{alone:.0f} (one process computes all {counts[-1]} shards)",
                    f"{shared / alone:.2f}x, efficiency {shared / alone / count:.2f}",
                    "reported",
                    met=True,
                )
            )
    record("sharding", rows)


def images_per_second(name: str, processes: int, shards: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.sharding", name, folder, str(shards)]
        environment = {**os.environ, "PROCESSES": str(processes), "OMP_NUM_THREADS": "1"}
        if subprocess.run(command, env=environment, check=False, stdout=subprocess.DEVNULL).returncode:
            raise UserError(f"The training of {name} by {processes} processes failed; see above.")
        return float(read_json(Path(folder) / "speed.json")["images_per_second"])


@shares_training
def train_shared() -> None:
    name, folder, shards = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    params = read_params(Params)
    compute = params.compute.model_copy(update={"threads": 1, "shards": shards})
    prepare_training(compute)
    clock = Clock()
    here = folder / str(place().index)
    networks.train(name, params, Data.small(params, scenes=200), Run(1, WARM_UP + STEPS, here, compute, [clock]))
    if place().index == 0:
        batch = getattr(params, f"train_{name}").fit.batch_size
        write_json(folder / "speed.json", {"images_per_second": STEPS * batch / clock.seconds})


if __name__ == "__main__":
    main()
