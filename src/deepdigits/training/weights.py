"""Saves trained networks: weights as safetensors, next to a JSON file for rebuilding the network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel
from safetensors.torch import save as save_safetensors
from torch import Tensor

from deepdigits.core.files import write_bytes, write_json


def save_network(kind: str, config: BaseModel, state: Mapping[str, Tensor], path: Path) -> None:
    """Write weights to `path` (.safetensors) and, next to it as .json, what is needed to rebuild the network."""
    tensors = {name: tensor.detach().contiguous() for name, tensor in state.items()}
    write_bytes(path, save_safetensors(tensors))
    write_json(path.with_suffix(".json"), {"network": kind, "config": json.loads(config.model_dump_json())})


def part_of(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights of one submodule in a checkpoint, with the prefix removed."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
