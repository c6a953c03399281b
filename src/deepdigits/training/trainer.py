"""One trainer for all networks: seeds, determinism, checkpoints, resume, per-epoch history."""

from __future__ import annotations

import logging
import shutil
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor

from deepdigits.core.errors import Terminated, UserError
from deepdigits.training.batches import epoch_generator
from deepdigits.training.data_module import InMemoryData

# Lightning's notes about accelerators, and a product of its makers, on every start.
for chatty in ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators.cuda"):
    logging.getLogger(chatty).setLevel(logging.WARNING)

Metrics = dict[str, float]
OnEpoch = Callable[[int, Metrics], None]


@dataclass(frozen=True)
class Fitted:
    """What training gave: the weights of the best epoch by validation, its index, all epochs' metrics."""

    state: dict[str, Tensor]
    best_epoch: int
    history: list[Metrics]


def fit(
    module: pl.LightningModule,
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
) -> Fitted:
    """Train, keeping the best epoch by `monitor`; start from the last checkpoint in `checkpoint_dir` if there is one.

    Everything random in an epoch is drawn from (seed, epoch), so a resumed training ends in the same bytes as one
    left alone. `checkpoint_dir` must be of this very code, data, parameters and environment; the caller removes it
    when all outputs are written.

    Raises:
        Terminated: SIGTERM arrived. Lightning alone would end with exit code 0 and a partial model.
        UserError: the loss or the monitored metric is no longer a number.
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
    last = _readable(checkpoint_dir / "last.ckpt")
    # PyTorch's deterministic mode fills each new tensor, so that an operation that reads what nobody wrote is found.
    # That is up to 8 % of a step; that none does, the tests of equal bytes tell.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        deterministic=True,
        logger=False,
        enable_model_summary=False,
        enable_progress_bar=sys.stderr.isatty(),
        gradient_clip_val=gradient_clip or None,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        callbacks=[_SeedEachEpoch(seed), *callbacks, history, checkpoints],
    )
    try:
        with warnings.catch_warnings():
            # Batches are tensors in memory, without worker processes; the GAN is judged by a callback.
            warnings.filterwarnings("ignore", message=".*(many workers|no `validation_step`|LeafSpec).*")
            trainer.fit(module, data, ckpt_path=last, weights_only=True)
    except SIGTERMException:
        raise Terminated from None
    except SystemExit:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from None
    best = torch.load(checkpoints.best_model_path, map_location="cpu", weights_only=True)
    return Fitted(best["state_dict"], int(best["epoch"]), history.rows)


def work_dir(root: Path, stage: str, key: str) -> Path:
    """The folder of a stage's checkpoints under `root`, one per `Lineage.resume_key`; others are removed."""
    own = root / stage / key[:16]
    for other in own.parent.glob("*"):
        if other != own:
            shutil.rmtree(other, ignore_errors=True)
    own.mkdir(parents=True, exist_ok=True)
    return own


def _readable(checkpoint: Path) -> Path | None:
    """The checkpoint, if there is one that can be read; a damaged one, as a power cut leaves it, is put away."""
    if not checkpoint.exists():
        return None
    try:
        torch.load(checkpoint, map_location="cpu", weights_only=True)
    except OSError:  # of the disk, which says nothing about the checkpoint
        raise
    except Exception as error:  # whatever torch makes of arbitrary bytes
        print(f"{checkpoint} cannot be read ({type(error).__name__}); the training begins anew.", flush=True)
        shutil.rmtree(checkpoint.parent)
        return None
    return checkpoint


class _SeedEachEpoch(Callback):
    def __init__(self, seed: int):
        self.seed = seed

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        torch.manual_seed(epoch_generator(self.seed + 1, trainer.current_epoch).initial_seed())


class _History(Callback):
    """Collects the metrics of each epoch; it travels in the checkpoint, so a resumed run has them all."""

    def __init__(self, on_epoch: OnEpoch):
        self.rows: list[Metrics] = []
        self.on_epoch = on_epoch

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        metrics = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        broken = [name for name, value in metrics.items() if value != value]
        if broken:
            raise UserError(
                f"Training diverged in epoch {trainer.current_epoch + 1}: {', '.join(broken)} is not a number. "
                "Lower the learning rate of this stage in params.yaml."
            )
        self.rows.append({"epoch": float(trainer.current_epoch + 1), **metrics})
        self.on_epoch(trainer.current_epoch + 1, metrics)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])
        for row in self.rows:  # the run that is being resumed is another one, so this one is told everything
            self.on_epoch(int(row["epoch"]), {name: value for name, value in row.items() if name != "epoch"})


def report_epoch(stage: str, epoch: int, epochs: int, metrics: Metrics) -> None:
    """Print one line about a finished epoch, which a log keeps when the progress bar is gone."""
    shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
    print(f"{stage}: epoch {epoch} of at most {epochs}: {shown}", flush=True)
