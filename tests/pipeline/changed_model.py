"""Run in a clone: `python -m tests.pipeline.changed_model MODEL SHARE` packages and registers MODEL with noise of SHARE
of each weight's spread, as if another training had made it."""

import sys

import torch

from deepdigits import paths
from deepdigits.config.loading import read_params
from deepdigits.config.params import Params
from deepdigits.data.splits import load_split
from deepdigits.files import read_json
from deepdigits.inference import CONFIGS, load_network
from deepdigits.packaged import read_packaged
from deepdigits.registry import register
from deepdigits.weights import save_network
from pipelines.package import package_model


def main(model: str, share: float) -> None:
    path = paths.MODELS / model / "model.safetensors"
    network = load_network(path)
    torch.manual_seed(0)
    with torch.no_grad():
        for weights in network.parameters():
            weights += share * weights.std(correction=0) * torch.randn_like(weights)
    description = read_json(path.with_suffix(".json"))
    config = CONFIGS[description["network"]].model_validate(description["config"], strict=False)
    for file in path.parent.iterdir():  # they may be links into DVC's cache
        data = file.read_bytes()
        file.unlink()
        file.write_bytes(data)
    save_network(description["network"], config, network.state_dict(), path)
    params = read_params(Params)
    package_model(model, load_split(paths.split_file("validation")), params.package)
    print(register(read_packaged(model, params.profile)))


main(sys.argv[1], float(sys.argv[2]))
