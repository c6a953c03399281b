"""Trains on batches that are cut into shards, which one process computes in turn or several processes compute at once.

Both ways give equal bytes. Another number of shards gives another training: batch norm normalizes each shard by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from deepdigits.core.errors import UserError
from deepdigits.training.processes import gather, place


class ShardedTraining(pl.LightningModule):
    """Steps its optimizers itself, with the mean of the shards' gradients, added in the order of the shards.

    A training step iterates over `turns`, backpropagates the loss of each shard, and then calls `step`. Batch norm
    keeps the running statistics of the first shard.
    """

    shards = 1
    seed = 0

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self._noted: dict[str, Tensor] = {}
        self._weight: Tensor | float = 1.0

    def cut(self, shards: int, seed: int) -> None:
        """Cut each batch into `shards`. `seed` and the shard's number determine what is drawn for it, such as noise.

        Raises:
            UserError: the processes cannot have equally many shards each.
        """
        if shards % place().count:
            raise UserError(
                f"{place().count} processes cannot share {shards} shard{'s' * (shards > 1)} equally. Set "
                f"compute.shards in params.yaml to {place().count}, which is another training with other bytes, or "
                "start as many processes as there are shards."
            )
        self.shards, self.seed = shards, seed

    def turns(self, batch: Sequence[Tensor], batch_index: int) -> Iterator[list[Tensor]]:
        """Yield the shards of `batch` that this process computes. The loop's body backpropagates the loss of each.

        After the loop, every gradient is the mean over all shards, and what the body noted has been logged.
        """
        if self.shards == 1:
            self.zero_grad()
            yield list(batch)
            self._log_noted(self._noted, len(batch[0]))
            return
        before = [statistic.clone() for statistic in self._statistics()]
        rows = []
        for shard in self._own_shards():
            for statistic, value in zip(self._statistics(), before, strict=True):
                statistic.data.copy_(value)  # unseen by autograd, which keeps a reference
            self.seed_draws(batch_index, shard)
            self.zero_grad()
            self._noted, self._weight = {}, 1.0
            yield [part.chunk(self.shards)[shard] for part in batch]
            rows.append(self._row())
        self._combine(gather(torch.stack(rows)), len(batch[0]))

    def note(self, losses: Mapping[str, Tensor], weight: Tensor | float = 1.0) -> None:
        """Log what was measured on the current shard, as a mean over all shards.

        Args:
            losses: scalars by name; `train/` is put before each name.
            weight: the shard's weight in the mean of the gradients and of the losses. If a loss is not a mean over
                images, pass what it is a mean over.
        """
        self._noted = {f"train/{name}": value.detach().float() for name, value in losses.items()}
        self._weight = weight

    def step(self, *optimizers: Any) -> None:
        """Step the optimizers in single precision, whatever the precision of the forward pass."""
        with torch.autocast(self.device.type, enabled=False):
            for optimizer in optimizers:
                optimizer.step()

    def step_schedules(self) -> None:
        schedules: Any = self.lr_schedulers()
        for schedule in schedules if isinstance(schedules, list) else [schedules]:
            schedule.step()

    def seed_draws(self, batch_index: int, shard: int) -> None:
        """Seed PyTorch's global generator for one shard, or for what all shards share if `shard` is their number.

        With one shard, the generator that was seeded for the epoch goes on.
        """
        if self.shards > 1:
            entropy = np.random.SeedSequence([self.seed, self.current_epoch, batch_index, shard])
            torch.manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> 1))

    def whole(self, parts: Sequence[Tensor]) -> Tensor:
        """The values `(n, ...)` for the whole batch, given those of each of this process's shards."""
        return gather(torch.stack(list(parts))).flatten(0, 1)

    def _own_shards(self) -> range:
        here = place()
        each = self.shards // here.count
        return range(here.index * each, (here.index + 1) * each)

    def _statistics(self) -> list[Tensor]:
        """The running statistics of batch norm."""
        norms = (module for module in self.modules() if isinstance(module, _BatchNorm))
        return [buffer for norm in norms for buffer in norm.buffers()]

    def _gradients(self) -> list[Tensor]:
        return [parameter.grad for parameter in self.parameters() if parameter.grad is not None]

    def _row(self) -> Tensor:
        """All that the other processes need to know of the current shard, as one vector."""
        weight = torch.as_tensor(self._weight, dtype=torch.float32, device=self.device).detach()
        averaged = [*self._gradients(), *self._noted.values()]
        statistics = [statistic for statistic in self._statistics() if statistic.is_floating_point()]
        return torch.cat([part.reshape(-1).float() for part in (weight, *statistics, *averaged)])

    def _combine(self, rows: Tensor, batch_size: int) -> None:
        """Set gradients and statistics, and log, given one row per shard."""
        statistics = [statistic for statistic in self._statistics() if statistic.is_floating_point()]
        first = 1 + sum(statistic.numel() for statistic in statistics)
        _fill(statistics, rows[0, 1:first])
        shares = rows[:, 0] / rows[:, 0].sum()
        mean = torch.zeros_like(rows[0, first:])
        for row, share in zip(rows, shares, strict=True):  # in the shards' order, whoever computed them
            mean += share * row[first:]
        noted = {name: torch.empty_like(value) for name, value in self._noted.items()}
        _fill([*self._gradients(), *noted.values()], mean)
        self._log_noted(noted, batch_size)

    def _log_noted(self, values: Mapping[str, Tensor], batch_size: int) -> None:
        self.log_dict(dict(values), on_step=False, on_epoch=True, batch_size=batch_size, prog_bar=True)


def _fill(tensors: Sequence[Tensor], values: Tensor) -> None:
    """Copy one vector into tensors of any shapes."""
    for tensor, part in zip(tensors, values.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.data.copy_(part.view_as(tensor))
