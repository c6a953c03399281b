"""The learning rate schedule of all networks except the GAN and the swap."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

WARM_UP = 0.15  # share of the steps in which the learning rate rises


def with_schedule(module: pl.LightningModule, optimizer: Optimizer) -> dict[str, Any]:
    """The learning rates of `optimizer` rise linearly from nearly zero and then fall linearly to zero, step by step.

    Returns what `configure_optimizers` returns.
    """
    steps = int(module.trainer.estimated_stepping_batches)

    def share(step: int) -> float:
        done = (step + 1) / (steps + 1)
        return done / WARM_UP if done < WARM_UP else (1 - done) / (1 - WARM_UP)

    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, share), "interval": "step"}}
