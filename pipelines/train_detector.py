"""Stage `train_detector`: see `deepdigits.models.detector`."""

from __future__ import annotations

import torch

from deepdigits import paths
from deepdigits.compute import use_threads
from deepdigits.config.detector import TrainDetector
from deepdigits.config.loading import read_params
from deepdigits.config.sections import StageParams
from deepdigits.data.manifest import validated_manifest
from deepdigits.data.scenes import SCENES_AT_ONCE, detection_targets, load_scenes
from deepdigits.errors import exits_cleanly
from deepdigits.evaluation.detection import Found, best_threshold, detection_measures, match
from deepdigits.lineage import stage_lineage
from deepdigits.models.detector import Detector, find_digits, losses
from deepdigits.models.supervised import SupervisedTraining
from deepdigits.tracking import DatasetIdentity
from pipelines.training import Recipe, train_network


class Parameters(StageParams):
    train_detector: TrainDetector


@exits_cleanly
def main() -> None:
    params = read_params(Parameters)
    use_threads(params.compute.threads)
    config = params.train_detector
    lineage = stage_lineage("train_detector", params.profile)
    dataset = DatasetIdentity.of(validated_manifest(paths.SCENE_MANIFEST, paths.SCENE_VERDICT))
    train, validation = (load_scenes(paths.scene_file(name)) for name in ("train", "validation"))
    torch.manual_seed(config.fit.seed)
    net = Detector(config.net)

    def set_threshold() -> dict[str, float]:
        found = Found(*find_digits(net, validation.images))
        threshold = float(net.threshold.fill_(best_threshold(match(validation, found))))
        measures = detection_measures(validation, found, threshold)
        return {"threshold": threshold, "map": measures["map"], "map_50": measures["map_50"]}

    recipe = Recipe(
        "detector",
        config.net,
        config.fit,
        SupervisedTraining(net, losses, config.fit),
        (train.images, detection_targets(train)),
        (validation.images, detection_targets(validation)),
        measure=set_threshold,
        headline=("map", ".3f"),
        validation_batch=SCENES_AT_ONCE,
    )
    train_network(recipe, lineage, dataset)


if __name__ == "__main__":
    main()
