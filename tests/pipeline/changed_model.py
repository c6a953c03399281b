"""Package and register a noisy copy of a model, as if another training had produced it.

Run `python -m tests.pipeline.changed_model MODEL SHARE` in a clone. The noise on each weight tensor is SHARE times the
tensor's standard deviation.
"""

import sys

import torch
from safetensors.torch import save

from deepdigits.core import paths
from deepdigits.core.files import file_sha256, read_json, write_bytes, write_json, write_text
from deepdigits.core.loading import read_params
from deepdigits.core.measures import weights_named
from deepdigits.release.packaged import describe_package, read_packaged
from deepdigits.release.params import Params
from deepdigits.release.registry import register
from deepdigits.tasks.catalogue import TASKS
from pipelines.package import package_model


def main(model: str, share: float) -> None:
    path, card = paths.MODELS / model / "model.safetensors", paths.MODELS / model / "model_card.md"
    task, old_sha256 = TASKS[model], file_sha256(path)
    evaluation = paths.evaluation_file(model)
    network = task.load(path)
    torch.manual_seed(0)
    with torch.no_grad():
        for weights in network.parameters():
            weights += share * weights.std(correction=0) * torch.randn_like(weights)
    for file in path.parent.iterdir():  # the files may be links into DVC's cache
        data = file.read_bytes()
        file.unlink()
        file.write_bytes(data)
    write_bytes(path, save({name: weights.contiguous() for name, weights in network.state_dict().items()}))
    write_json(evaluation, read_json(evaluation) | weights_named(model, task.judges))
    params = read_params(Params)
    package_model(task, params.package, read_json(paths.MANIFEST))
    write_text(card, card.read_text().replace(old_sha256, file_sha256(path)))
    describe_package(task)
    print(register(read_packaged(task, params.profile)))


main(sys.argv[1], float(sys.argv[2]))
