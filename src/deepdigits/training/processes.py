"""The processes that share a training. How they were started does not matter here; one alone computes everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """This process's number, from 0, and how many share the training."""

    index: int
    count: int


def place() -> Place:
    if distributed.is_available() and distributed.is_initialized():
        return Place(distributed.get_rank(), distributed.get_world_size())
    return Place(0, 1)


def gather(rows: Tensor) -> Tensor:
    """The rows of all processes, `(count * k, ...)` from `(k, ...)` each, in the order of the processes."""
    count = place().count
    if count == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(count)]
    distributed.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


def from_first(value: T) -> T:
    """The first process's value, in all processes."""
    if place().count == 1:
        return value
    values = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]
