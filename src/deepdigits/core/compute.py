"""The number of compute threads, and the handling of freed memory."""

from __future__ import annotations

import ctypes

import torch
from threadpoolctl import threadpool_limits

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # from glibc's malloc.h


def use_threads(threads: int) -> None:
    """Fix the number of threads. A different number changes the order of summation, and with it the last bits."""
    torch.set_num_threads(threads)
    threadpool_limits(threads)
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Make glibc reuse large blocks instead of returning them to the system.

    Every training step needs the same blocks again. Mapping and zeroing them anew costs a quarter of the CNN's step.
    Other C libraries are left alone.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, -1)
