"""Networks rebuilt from their files, and their answers for whole splits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import nn

from deepdigits.config.classifiers import CnnNet, RnnNet
from deepdigits.config.gan import GanNet
from deepdigits.data.batches import to_unit
from deepdigits.errors import UserError
from deepdigits.files import read_json
from deepdigits.models.cnn import Cnn
from deepdigits.models.gan import Discriminator, Generator
from deepdigits.models.rnn import make_rnn

BATCH = 1000
CONFIGS: dict[str, type[BaseModel]] = {"cnn": CnnNet, "rnn": RnnNet, "generator": GanNet, "discriminator": GanNet}
NETWORKS: dict[str, Callable[[Any], nn.Module]] = {
    "cnn": Cnn,
    "rnn": make_rnn,
    "generator": Generator,
    "discriminator": Discriminator,
}


def load_network(path: Path) -> nn.Module:
    """Rebuild the network that `deepdigits.weights.save_network` wrote, in evaluation mode.

    Raises:
        UserError: a file is missing or damaged, or the weights do not fit the network.
    """
    description = read_json(path.with_suffix(".json"))
    try:
        kind = description["network"]
        config = CONFIGS[kind].model_validate_json(json.dumps(description["config"]))
        network = NETWORKS[kind](config)
        network.load_state_dict(load_safetensors(path.read_bytes()))
    except FileNotFoundError:
        raise UserError(f"{path} is missing. Run: dvc repro") from None
    except (KeyError, TypeError, RuntimeError, SafetensorError, ValidationError) as error:
        raise UserError(f"{path} cannot be loaded: {error}. Remove it and run: dvc repro") from None
    return network.eval()


@torch.inference_mode()
def probabilities(network: nn.Module, images: np.ndarray) -> np.ndarray:
    """Class probabilities float32 `(n, 10)` of uint8 images `(n, 28, 28)`."""
    parts = torch.from_numpy(images).split(BATCH)
    return np.asarray(torch.cat([network(to_unit(part)).softmax(dim=1) for part in parts]).numpy())


@torch.inference_mode()
def features(network: Cnn, images: np.ndarray) -> np.ndarray:
    """The CNN's last hidden layer, float32 `(n, d)`, for uint8 images `(n, 28, 28)`."""
    return np.asarray(
        torch.cat([network.features(to_unit(part)) for part in torch.from_numpy(images).split(BATCH)]).numpy()
    )
