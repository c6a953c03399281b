"""Networks rebuilt from what `deepdigits.weights.save_network` wrote."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import nn

from deepdigits.errors import UserError
from deepdigits.files import read_json

Kinds = Mapping[str, tuple[type[BaseModel], Callable[[Any], nn.Module]]]


def restore(path: Path, kinds: Kinds) -> nn.Module:
    """Rebuild a network in evaluation mode; `kinds` has its configuration and how it is made, by kind.

    Raises:
        UserError: a file is missing or damaged, or the weights do not fit the network.
    """
    description = read_json(path.with_suffix(".json"))
    try:
        config, make = kinds[description["network"]]
        network = make(config.model_validate_json(json.dumps(description["config"])))
        network.load_state_dict(load_safetensors(path.read_bytes()))
    except FileNotFoundError:
        raise UserError(f"{path} is missing. Run: dvc repro") from None
    except (KeyError, TypeError, RuntimeError, SafetensorError, ValidationError) as error:
        raise UserError(f"{path} cannot be loaded: {error}. Remove it and run: dvc repro") from None
    return network.eval()
