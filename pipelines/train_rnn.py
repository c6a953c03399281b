"""Stage `train_rnn`: see `deepdigits.tasks.rnn.network`."""

from __future__ import annotations

from deepdigits.core.compute import prepare_training
from deepdigits.core.loading import read_params
from deepdigits.core.sections import StageParams
from deepdigits.ops.exit import exits_cleanly
from deepdigits.ops.launching import shares_training
from deepdigits.ops.lineage import stage_lineage
from deepdigits.tasks.rnn.config import TrainRnn
from deepdigits.tasks.rnn.training import rnn_to_train
from pipelines.classifier import train_classifier


class Parameters(StageParams):
    train_rnn: TrainRnn


@exits_cleanly
@shares_training
def main() -> None:
    params = read_params(Parameters)
    prepare_training(params.compute)
    lineage = stage_lineage("train_rnn", params.profile, params.compute.device)
    train_classifier("rnn", params.train_rnn.net, params.train_rnn.fit, rnn_to_train, params.compute, lineage)


if __name__ == "__main__":
    main()
