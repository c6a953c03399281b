"""How many threads compute, and what becomes of freed memory."""

from __future__ import annotations

import ctypes

import torch
from threadpoolctl import threadpool_limits

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def use_threads(threads: int) -> None:
    """Fix the number of threads: sums run in another order with another number, and the last bits differ."""
    torch.set_num_threads(threads)
    threadpool_limits(threads)
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Let glibc reuse large blocks instead of handing them back: each training step needs the same ones again, and
    to have them mapped and zeroed anew costs a quarter of the CNN's step. Other C libraries go their own way."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, -1)
