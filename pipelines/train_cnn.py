"""Stage `train_cnn`: see `deepdigits.models.cnn`."""

from __future__ import annotations

import torch

from deepdigits.compute import use_threads
from deepdigits.config.classifiers import TrainCnn
from deepdigits.config.loading import read_params
from deepdigits.config.sections import StageParams
from deepdigits.errors import exits_cleanly
from deepdigits.lineage import stage_lineage
from deepdigits.models.cnn_training import cnn_to_train
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
