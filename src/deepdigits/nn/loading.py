"""Rebuilds networks from the files that `deepdigits.training.weights.save_network` writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import nn

from deepdigits.core.errors import UserError
from deepdigits.core.files import read_json

C = TypeVar("C", bound=BaseModel)
N = TypeVar("N", bound=nn.Module)


def load_network(path: Path, kind: str, config: type[C], make: Callable[[C], N]) -> N:
    """Rebuild a network of one kind, in evaluation mode; `make` builds it from its `config`.

    Raises:
        UserError: a file is missing or corrupt, is of another kind, or the weights do not fit the network.
    """
    description = read_json(path.with_suffix(".json"))
    try:
        if description["network"] != kind:
            raise TypeError(f"it contains weights for network {description['network']!r}, not {kind!r}")
        network = make(config.model_validate_json(json.dumps(description["config"])))
        network.load_state_dict(load_safetensors(path.read_bytes()))
    except FileNotFoundError:
        raise UserError(f"{path} is missing. Run: dvc repro") from None
    except (KeyError, TypeError, RuntimeError, SafetensorError, ValidationError) as error:
        raise UserError(f"{path} cannot be loaded: {error}. Delete it and run: dvc repro") from None
    return network.eval()
