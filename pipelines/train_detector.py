"""Stage `train_detector`: see `deepdigits.models.detector`."""

from __future__ import annotations

from pathlib import Path

import torch

from deepdigits import paths
from deepdigits.compute import use_threads
from deepdigits.config.detector import TrainDetector
from deepdigits.config.loading import read_params
from deepdigits.config.sections import StageParams
from deepdigits.data.manifest import validated_manifest
from deepdigits.data.scenes import detection_targets, load_scenes
from deepdigits.errors import exits_cleanly
from deepdigits.evaluation.detection import Found, best_threshold, detection_measures, match
from deepdigits.lineage import stage_lineage
from deepdigits.models.detector import Detector, find_digits, losses
from deepdigits.models.scene_training import SceneTraining
from deepdigits.scene_training import fit_scenes
from deepdigits.tracking import DatasetIdentity
from deepdigits.training import Fitted, OnEpoch
from deepdigits.weights import part_of
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

    def fit(checkpoints: Path, on_epoch: OnEpoch) -> Fitted:
        module = SceneTraining(net, losses, config.fit)
        known, held_out = ((scenes.images, detection_targets(scenes)) for scenes in (train, validation))
        return fit_scenes(module, known, held_out, config.fit, checkpoints, on_epoch)

    def set_threshold(fitted: Fitted) -> dict[str, float]:
        net.load_state_dict(part_of(fitted.state, "net."))
        found = Found(*find_digits(net, validation.images))
        threshold = best_threshold(match(validation, found))
        fitted.state["net.threshold"] = torch.tensor(threshold)
        measures = detection_measures(validation, found, threshold)
        return {"threshold": threshold, "map": measures["map"], "map_50": measures["map_50"]}

    recipe = Recipe("detector", config.net, config.fit, fit, set_threshold, ("map", ".3f"))
    train_network(recipe, lineage, dataset)


if __name__ == "__main__":
    main()
