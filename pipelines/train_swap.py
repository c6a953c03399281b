"""Stage `train_swap`: see `deepdigits.models.swap`."""

from __future__ import annotations

from pathlib import Path

import torch

from deepdigits import paths
from deepdigits.compute import use_threads
from deepdigits.config.loading import read_params
from deepdigits.config.sections import StageParams
from deepdigits.config.swap import TrainSwap
from deepdigits.data.batches import InMemoryData, to_unit
from deepdigits.data.manifest import validated_manifest
from deepdigits.data.splits import load_split
from deepdigits.errors import exits_cleanly
from deepdigits.evaluation.swapping import other_digits, swap_measures
from deepdigits.lineage import stage_lineage
from deepdigits.models.swap import Swapper, digits_read, swap_digits
from deepdigits.models.swap_training import SwapTraining, usual_handwriting
from deepdigits.tracking import DatasetIdentity
from deepdigits.training import Fitted, OnEpoch, fit
from deepdigits.weights import part_of
from pipelines.training import Recipe, train_network


class Parameters(StageParams):
    train_swap: TrainSwap


@exits_cleanly
def main() -> None:
    params = read_params(Parameters)
    use_threads(params.compute.threads)
    config = params.train_swap
    lineage = stage_lineage("train_swap", params.profile)
    dataset = DatasetIdentity.of(validated_manifest(paths.MANIFEST, paths.VERDICT))
    train, validation = (load_split(paths.split_file(name)) for name in ("train", "validation"))

    def train_swap(checkpoints: Path, on_epoch: OnEpoch) -> Fitted:
        torch.manual_seed(config.fit.seed)
        usual = usual_handwriting(to_unit(torch.from_numpy(train.images)), torch.from_numpy(train.labels))
        data = InMemoryData(
            (train.images, train.labels),
            (validation.images, validation.labels),
            batch_size=config.fit.batch_size,
            steps_per_epoch=config.fit.steps_per_epoch,
            seed=config.fit.seed,
        )
        return fit(
            SwapTraining(config, usual),
            data,
            epochs=config.fit.epochs,
            seed=config.fit.seed,
            monitor="val/loss",
            mode="min",
            checkpoint_dir=checkpoints,
            on_epoch=on_epoch,
        )

    def judge(fitted: Fitted) -> dict[str, float]:
        """By the swap's own reader: the CNN that judges the test images takes no part in training."""
        net = Swapper(config.net)
        net.load_state_dict(part_of(fitted.state, "net."))
        wanted = other_digits(validation.labels)
        swapped = swap_digits(net, validation.images, wanted)
        return swap_measures(validation.images, swapped, digits_read(net, swapped), wanted)

    recipe = Recipe("swap", config.net, config.fit, train_swap, judge, ("slant_correlation", ".3f"))
    train_network(recipe, lineage, dataset)


if __name__ == "__main__":
    main()
