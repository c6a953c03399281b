"""params.yaml as a whole."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from deepdigits.config.classifiers import TrainCnn, TrainRnn
from deepdigits.config.data import Ingest, Validate
from deepdigits.config.detector import TrainDetector
from deepdigits.config.evaluation import Evaluate
from deepdigits.config.fakes import TrainFakes
from deepdigits.config.gan import TrainGan
from deepdigits.config.promotion import Promotion
from deepdigits.config.release import DatasetGates, Package
from deepdigits.config.scenes import Compose
from deepdigits.config.sections import PerDataset, StageParams
from deepdigits.config.segmenter import TrainSegmenter
from deepdigits.config.swap import TrainSwap


class Params(StageParams):
    model_config = ConfigDict(extra="forbid")

    ingest: Ingest
    validate_: Annotated[Validate, Field(alias="validate")]
    train_cnn: TrainCnn
    train_rnn: TrainRnn
    train_gan: TrainGan
    compose: Compose
    train_detector: TrainDetector
    train_segmenter: TrainSegmenter
    train_swap: TrainSwap
    train_fakes: TrainFakes
    evaluate: Evaluate
    package: Package
    gates: PerDataset[DatasetGates]
    promotion: Promotion
