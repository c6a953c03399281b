"""The number of compute threads, the device that trains, and the handling of freed memory."""

from __future__ import annotations

import ctypes

import torch
from threadpoolctl import threadpool_limits

from deepdigits.core.errors import UserError
from deepdigits.core.sections import Compute

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # from glibc's malloc.h


def use_threads(threads: int) -> None:
    """Fix the number of threads. A different number changes the order of summation, and with it the last bits."""
    torch.set_num_threads(threads)
    threadpool_limits(threads)
    _keep_freed_memory()


def prepare_training(compute: Compute) -> None:
    """Fix the number of threads, and check that the device exists.

    On a GPU, convolutions and LSTMs keep single precision. By default, cuDNN rounds their inputs to TF32, ten bits.

    Raises:
        UserError: the device is `cuda`, and torch finds none.
    """
    use_threads(compute.threads)
    if compute.device == "cpu":
        return
    if not torch.cuda.is_available():
        reason = "finds no GPU" if torch.backends.cuda.is_built() else "is a build for CPUs"
        raise UserError(
            f"compute.device is cuda, but torch {torch.__version__} {reason}. Train on the CPU (compute.device: cpu in "
            "params.yaml, or without PROFILE=gpu), or install the CUDA build and its driver."
        )
    torch.backends.cudnn.allow_tf32 = False


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
