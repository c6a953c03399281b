"""How many threads compute: a choice, since it changes the last bits of sums."""

from __future__ import annotations

import torch
from threadpoolctl import threadpool_limits


def use_threads(threads: int) -> None:
    """Fix the number of threads: sums run in another order with another number, and the last bits differ."""
    torch.set_num_threads(threads)
    threadpool_limits(threads)
