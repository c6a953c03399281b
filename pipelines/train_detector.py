"""Stage `train_detector`: see `deepdigits.tasks.detector.network`."""

from __future__ import annotations

import torch

from deepdigits.core import paths
from deepdigits.core.compute import prepare_training
from deepdigits.core.loading import read_params
from deepdigits.core.sections import StageParams
from deepdigits.data.digits.manifest import validated_manifest
from deepdigits.data.scenes.scenes import SCENES_AT_ONCE, detection_targets, load_scenes
from deepdigits.ops.exit import exits_cleanly
from deepdigits.ops.launching import shares_training
from deepdigits.ops.lineage import stage_lineage
from deepdigits.ops.tracking import DatasetIdentity
from deepdigits.tasks.detector.config import TrainDetector
from deepdigits.tasks.detector.metrics import Detections, best_threshold, detection_measures, match
from deepdigits.tasks.detector.network import Detector, find_digits, losses
from deepdigits.training.supervised import SupervisedTraining
from pipelines.training import Recipe, train_network


class Parameters(StageParams):
    train_detector: TrainDetector


@exits_cleanly
@shares_training
def main() -> None:
    params = read_params(Parameters)
    prepare_training(params.compute)
    config = params.train_detector
    lineage = stage_lineage("train_detector", params.profile, params.compute.device)
    manifest = validated_manifest(paths.SCENE_MANIFEST, paths.SCENE_VERDICT)
    train, validation = (load_scenes(paths.scene_file(name)) for name in ("train", "validation"))
    torch.manual_seed(config.fit.seed)
    shape = config.net.model_copy(update={"classes": len(manifest["classes"])})
    net = Detector(shape)

    def set_threshold() -> dict[str, float]:
        found = Detections(*find_digits(net, validation.images))
        threshold = float(net.threshold.fill_(best_threshold(match(validation, found))))
        measures = detection_measures(validation, found, threshold)
        return {"threshold": threshold, "map": measures["map"], "map_50": measures["map_50"]}

    recipe = Recipe(
        "detector",
        shape,
        config.fit,
        SupervisedTraining(net, losses, config.fit),
        (train.images, detection_targets(train)),
        (validation.images, detection_targets(validation)),
        measure=set_threshold,
        headline=("map", ".3f"),
        validation_batch=SCENES_AT_ONCE,
    )
    train_network(recipe, params.compute, lineage, DatasetIdentity.of(manifest))


if __name__ == "__main__":
    main()
