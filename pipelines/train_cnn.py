"""Stage `train_cnn`: see `deepdigits.tasks.cnn.network`."""

from __future__ import annotations

import torch

from deepdigits.core.compute import use_threads
from deepdigits.core.loading import read_params
from deepdigits.core.sections import StageParams
from deepdigits.ops.exit import exits_cleanly
from deepdigits.ops.lineage import stage_lineage
from deepdigits.tasks.cnn.config import TrainCnn
from deepdigits.tasks.cnn.training import cnn_to_train
from pipelines.classifier import train_classifier


class Parameters(StageParams):
    train_cnn: TrainCnn


@exits_cleanly
def main() -> None:
    params = read_params(Parameters)
    use_threads(params.compute.threads)
    torch.manual_seed(params.train_cnn.fit.seed)
    module = cnn_to_train(params.train_cnn.net, params.train_cnn.fit)
    lineage = stage_lineage("train_cnn", params.profile)
    train_classifier("cnn", params.train_cnn.net, params.train_cnn.fit, module, lineage)


if __name__ == "__main__":
    main()
