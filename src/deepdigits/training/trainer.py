"""One trainer for all networks: seeds, determinism, checkpoints, resume, per-epoch history."""

from __future__ import annotations

import io
import logging
import math
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from deepdigits.core.errors import Terminated, UserError
from deepdigits.core.sections import Compute
from deepdigits.training.batches import epoch_generator
from deepdigits.training.data_module import InMemoryData
from deepdigits.training.processes import from_first, place
from deepdigits.training.sharding import ShardedTraining

# Silence what Lightning logs on every start: notes about accelerators, and about a product of its makers.
for chatty in ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators.cuda"):
    logging.getLogger(chatty).setLevel(logging.WARNING)

Metrics = dict[str, float]
OnEpoch = Callable[[int, Metrics], None]


@dataclass(frozen=True)
class Fitted:
    """The result of training: the weights of the best epoch by validation, its index, and all epochs' metrics."""

    state: dict[str, Tensor]
    best_epoch: int
    history: list[Metrics]


def fit(
    module: ShardedTraining,
    data: InMemoryData,
    *,
    epochs: int,
    seed: int,
    monitor: str,
    mode: str,
    checkpoint_dir: Path,
    on_epoch: OnEpoch,
    callbacks: Sequence[Callback] = (),
    gradient_clip: float | None = None,
    compute: Compute | None = None,
) -> Fitted:
    """Train and keep the best epoch by `monitor`. Resume from the last checkpoint in `checkpoint_dir` if there is one.

    All randomness in an epoch is drawn from (seed, epoch), so a resumed run ends with the same bytes as an
    uninterrupted one. `checkpoint_dir` must belong to exactly this code, data, parameters and environment. The caller
    removes it once all outputs are written.

    If several processes share the training, all of them call this and return the same. They resume from the first one's
    checkpoint, and each needs a folder of its own.

    Args:
        compute: device, precision and shards; None for the CPU, single precision and whole batches. Afterwards,
            `module` is on the CPU.

    Raises:
        Terminated: SIGTERM arrived. Lightning alone would exit with code 0 and a partial model.
        UserError: the loss or the monitored metric is not finite.
    """
    history = _History(on_epoch)
    checkpoints = ModelCheckpoint(
        dirpath=checkpoint_dir,
        filename="best-{epoch}",
        auto_insert_metric_name=False,
        monitor=monitor,
        mode=mode,
        save_last=True,
        save_on_train_epoch_end=True,
    )
    last = _same_for_all(_readable(checkpoint_dir / "last.ckpt"), checkpoint_dir)
    module.cut(compute.shards if compute else 1, seed)
    # PyTorch's deterministic mode fills each new tensor to expose reads of uninitialized memory. That costs up to 8 %
    # of a step. The tests for equal bytes already show that no operation reads such memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    trainer = pl.Trainer(
        accelerator=compute.device if compute else "cpu",
        devices=1,
        precision="bf16-mixed" if compute and compute.precision == "bf16-mixed" else "32-true",
        max_epochs=epochs,
        deterministic=True,
        logger=False,
        enable_model_summary=False,
        enable_progress_bar=sys.stderr.isatty() and place().index == 0,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        callbacks=[_SeedEachEpoch(seed), _Clip(gradient_clip), *callbacks, history, checkpoints],
        plugins=[LightningEnvironment()],  # processes that share a training exchange gradients themselves
    )
    try:
        with warnings.catch_warnings():
            # Batches are in-memory tensors and need no worker processes. A callback evaluates the GAN.
            warnings.filterwarnings(
                "ignore", message=".*(many workers|no `validation_step`|LeafSpec|dirpath has changed).*"
            )
            trainer.fit(module, data, ckpt_path=last, weights_only=True)
    except SIGTERMException:
        raise Terminated from None
    except SystemExit:  # how Lightning reports Ctrl-C
        raise KeyboardInterrupt from None
    best = torch.load(checkpoints.best_model_path, map_location="cpu", weights_only=True)
    return Fitted(best["state_dict"], int(best["epoch"]), history.rows)


def work_dir(root: Path, stage: str, key: str) -> Path:
    """The folder for a stage's checkpoints under `root`, one per `Lineage.resume_key`. Stale ones are removed.

    A process that only helps with a training gets a temporary folder.
    """
    if place().index:
        return Path(tempfile.mkdtemp())
    own = root / stage / key[:16]
    for other in own.parent.glob("*"):
        if other != own:
            shutil.rmtree(other, ignore_errors=True)
    own.mkdir(parents=True, exist_ok=True)
    return own


def _readable(checkpoint: Path) -> Path | None:
    """The checkpoint, if it exists and is readable. A corrupt one, as after a power cut, is removed with its folder."""
    if not checkpoint.exists():
        return None
    data = checkpoint.read_bytes()  # outside the try: a failing disk does not mean a corrupt checkpoint
    try:
        torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch may raise anything on arbitrary bytes
        print(f"{checkpoint} cannot be read ({type(error).__name__}); training starts over.", flush=True)
        shutil.rmtree(checkpoint.parent)
        return None
    return checkpoint


def _same_for_all(last: Path | None, folder: Path) -> Path | None:
    """The first process's checkpoint, copied to `folder` in the others."""
    data = from_first(last.read_bytes() if last else None)
    if data is None or place().index == 0:
        return last if data else None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "last.ckpt").write_bytes(data)
    return folder / "last.ckpt"


class _SeedEachEpoch(Callback):
    def __init__(self, seed: int):
        self.seed = seed

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        torch.manual_seed(epoch_generator(self.seed + 1, trainer.current_epoch).initial_seed())


class _Clip(Callback):
    """Clips the norm of the gradients. Lightning's own clipping refuses fused optimizers in mixed precision."""

    def __init__(self, most: float | None):
        self.most = most

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        if self.most:
            clip_grad_norm_((weight for group in optimizer.param_groups for weight in group["params"]), self.most)


class _History(Callback):
    """Collects the metrics of each epoch. They are stored in the checkpoint, so a resumed run has them all."""

    def __init__(self, on_epoch: OnEpoch):
        self.rows: list[Metrics] = []
        self.on_epoch = on_epoch

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        metrics = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        broken = [name for name, value in metrics.items() if not math.isfinite(value)]
        if broken:
            raise UserError(
                f"Training diverged in epoch {trainer.current_epoch + 1}: {', '.join(broken)} is not finite. "
                "Lower this stage's learning rate in params.yaml."
            )
        self.rows.append({"epoch": float(trainer.current_epoch + 1), **metrics})
        self.on_epoch(trainer.current_epoch + 1, metrics)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])
        for row in self.rows:  # the interrupted epochs were reported to another run, so report them to this one
            self.on_epoch(int(row["epoch"]), {name: value for name, value in row.items() if name != "epoch"})


def report_epoch(stage: str, epoch: int, epochs: int, metrics: Metrics) -> None:
    """Print one line per finished epoch, which stays in the log when the progress bar is gone."""
    shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
    print(f"{stage}: epoch {epoch} of at most {epochs}: {shown}", flush=True)
