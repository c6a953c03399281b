"""The learning rate schedule of all networks except the GAN."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR


def one_cycle(module: pl.LightningModule, optimizer: Optimizer, peak: float) -> dict[str, Any]:
    """One cycle over the whole training run (Smith and Topin, 2017, arXiv:1708.07120), in the form that
    `configure_optimizers` returns."""
    schedule = OneCycleLR(optimizer, peak, total_steps=int(module.trainer.estimated_stepping_batches))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
