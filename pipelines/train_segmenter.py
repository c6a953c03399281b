"""Stage `train_segmenter`: see `deepdigits.tasks.segmenter.network`."""

from __future__ import annotations

import torch

from deepdigits.core import paths
from deepdigits.core.compute import prepare_training
from deepdigits.core.loading import read_params
from deepdigits.core.measures import weights_file
from deepdigits.core.sections import StageParams
from deepdigits.data.digits.manifest import validated_manifest
from deepdigits.data.scenes.scenes import SCENES_AT_ONCE, load_scenes
from deepdigits.ops.exit import exits_cleanly
from deepdigits.ops.launching import shares_training
from deepdigits.ops.lineage import stage_lineage
from deepdigits.ops.tracking import DatasetIdentity
from deepdigits.tasks.detector.network import load_detector
from deepdigits.tasks.segmenter.config import SegmenterNet, TrainSegmenter
from deepdigits.tasks.segmenter.metrics import confusions, mean_iou
from deepdigits.tasks.segmenter.network import Segmenter, losses, name_pixels
from deepdigits.training.supervised import SupervisedTraining
from pipelines.training import Recipe, train_network


class Parameters(StageParams):
    train_segmenter: TrainSegmenter


@exits_cleanly
@shares_training
def main() -> None:
    params = read_params(Parameters)
    prepare_training(params.compute)
    config = params.train_segmenter
    lineage = stage_lineage("train_segmenter", params.profile, params.compute.device)
    manifest = validated_manifest(paths.SCENE_MANIFEST, paths.SCENE_VERDICT)
    train, validation = (load_scenes(paths.scene_file(name)) for name in ("train", "validation"))
    torch.manual_seed(config.fit.seed)
    backbone = load_detector(weights_file("detector")).backbone
    shape = SegmenterNet(widths=backbone.widths, classes=len(manifest["classes"]))
    net = Segmenter(shape)
    net.backbone.load_state_dict(backbone.state_dict())

    def measure() -> dict[str, float]:
        found = name_pixels(net, validation.images)
        return {"miou": mean_iou(confusions(validation.semantic, found).sum(axis=0))}

    recipe = Recipe(
        "segmenter",
        shape,
        config.fit,
        SupervisedTraining(net, losses, config.fit),
        (train.images, train.semantic),
        (validation.images, validation.semantic),
        measure,
        headline=("miou", ".3f"),
        validation_batch=SCENES_AT_ONCE,
    )
    train_network(recipe, params.compute, lineage, DatasetIdentity.of(manifest))


if __name__ == "__main__":
    main()
