"""Stage `train_fakes`: see `deepdigits.tasks.fakes.network`."""

from __future__ import annotations

import torch

from deepdigits.core import paths
from deepdigits.core.compute import prepare_training
from deepdigits.core.loading import read_params
from deepdigits.core.sections import StageParams
from deepdigits.data.digits.manifest import validated_manifest
from deepdigits.data.digits.splits import load_split
from deepdigits.ops.exit import exits_cleanly
from deepdigits.ops.launching import shares_training
from deepdigits.ops.lineage import stage_lineage
from deepdigits.ops.tracking import DatasetIdentity
from deepdigits.tasks.fakes.config import TrainFakes
from deepdigits.tasks.fakes.make_fakes import real_and_fake
from deepdigits.tasks.fakes.metrics import fakes_measures
from deepdigits.tasks.fakes.network import FakesDetector, fake_probabilities, losses
from deepdigits.training.supervised import SupervisedTraining
from pipelines.training import Recipe, train_network


class Parameters(StageParams):
    train_fakes: TrainFakes


@exits_cleanly
@shares_training
def main() -> None:
    params = read_params(Parameters)
    prepare_training(params.compute)
    config = params.train_fakes
    lineage = stage_lineage("train_fakes", params.profile, params.compute.device)
    dataset = DatasetIdentity.of(validated_manifest(paths.MANIFEST, paths.VERDICT))
    splits = [load_split(paths.split_file(name)) for name in ("train", "validation")]
    known, held_out = (real_and_fake(split, config.fit.seed + part) for part, split in enumerate(splits))
    torch.manual_seed(config.fit.seed)
    net = FakesDetector(config.net)

    def measure() -> dict[str, float]:
        return fakes_measures(fake_probabilities(net, held_out[0]))

    module = SupervisedTraining(net, losses, config.fit)
    recipe = Recipe("fakes", config.net, config.fit, module, known, held_out, measure, headline=("auc", ".4f"))
    train_network(recipe, params.compute, lineage, dataset)


if __name__ == "__main__":
    main()
