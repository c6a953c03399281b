"""Stage `train_cnn`: see `deepdigits.tasks.cnn.network`."""

from __future__ import annotations

from deepdigits.core.compute import prepare_training
from deepdigits.core.loading import read_params
from deepdigits.core.sections import StageParams
from deepdigits.ops.exit import exits_cleanly
from deepdigits.ops.launching import shares_training
from deepdigits.ops.lineage import stage_lineage
from deepdigits.tasks.cnn.config import TrainCnn
from deepdigits.tasks.cnn.training import cnn_to_train
from pipelines.classifier import train_classifier


class Parameters(StageParams):
    train_cnn: TrainCnn


@exits_cleanly
@shares_training
def main() -> None:
    params = read_params(Parameters)
    prepare_training(params.compute)
    lineage = stage_lineage("train_cnn", params.profile, params.compute.device)
    train_classifier("cnn", params.train_cnn.net, params.train_cnn.fit, cnn_to_train, params.compute, lineage)


if __name__ == "__main__":
    main()
