"""The schema of all of params.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from deepdigits.core.sections import StageParams
from deepdigits.data.config import Ingest, Validate
from deepdigits.data.described import DatasetName
from deepdigits.data.scenes.config import Compose
from deepdigits.release.config import Package, Promotion
from deepdigits.tasks.cnn.config import TrainCnn
from deepdigits.tasks.config import Evaluate
from deepdigits.tasks.detector.config import TrainDetector
from deepdigits.tasks.fakes.config import TrainFakes
from deepdigits.tasks.gan.config import TrainGan
from deepdigits.tasks.rnn.config import TrainRnn
from deepdigits.tasks.segmenter.config import TrainSegmenter
from deepdigits.tasks.swap.config import TrainSwap


class Params(StageParams):
    model_config = ConfigDict(extra="forbid")

    dataset: DatasetName
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
    promotion: Promotion
