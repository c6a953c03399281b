"""Stage `train_segmenter`: see `deepdigits.models.segmenter`."""

from __future__ import annotations

from pathlib import Path

import torch

from deepdigits import paths
from deepdigits.compute import use_threads
from deepdigits.config.loading import read_params
from deepdigits.config.sections import StageParams
from deepdigits.config.segmenter import TrainSegmenter
from deepdigits.data.manifest import validated_manifest
from deepdigits.data.scenes import load_scenes
from deepdigits.errors import exits_cleanly
from deepdigits.evaluation.segmentation import confusions, mean_iou
from deepdigits.lineage import stage_lineage
from deepdigits.models.scene_training import SceneTraining
from deepdigits.models.segmenter import Segmenter, losses, name_pixels
from deepdigits.scene_training import fit_scenes
from deepdigits.tracking import DatasetIdentity
from deepdigits.training import Fitted, OnEpoch
from deepdigits.weights import part_of
from pipelines.training import Recipe, train_network


class Parameters(StageParams):
    train_segmenter: TrainSegmenter


@exits_cleanly
def main() -> None:
    params = read_params(Parameters)
    use_threads(params.compute.threads)
    config = params.train_segmenter
    lineage = stage_lineage("train_segmenter", params.profile)
    dataset = DatasetIdentity.of(validated_manifest(paths.SCENE_MANIFEST, paths.SCENE_VERDICT))
    train, validation = (load_scenes(paths.scene_file(name)) for name in ("train", "validation"))
    torch.manual_seed(config.fit.seed)
    net = Segmenter(config.net)

    def fit(checkpoints: Path, on_epoch: OnEpoch) -> Fitted:
        module = SceneTraining(net, losses, config.fit)
        known, held_out = ((scenes.images, scenes.semantic) for scenes in (train, validation))
        return fit_scenes(module, known, held_out, config.fit, checkpoints, on_epoch)

    def judge(fitted: Fitted) -> dict[str, float]:
        net.load_state_dict(part_of(fitted.state, "net."))
        found = name_pixels(net, validation.images)
        return {"miou": mean_iou(confusions(validation.semantic, found).sum(axis=0))}

    train_network(Recipe("segmenter", config.net, config.fit, fit, judge, ("miou", ".3f")), lineage, dataset)


if __name__ == "__main__":
    main()
