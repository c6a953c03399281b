"""Stage `train_swap`: see `deepdigits.tasks.swap.network`."""

from __future__ import annotations

import torch

from deepdigits.core import paths
from deepdigits.core.compute import prepare_training
from deepdigits.core.loading import read_params
from deepdigits.core.sections import StageParams
from deepdigits.data.digits.manifest import validated_manifest
from deepdigits.data.digits.splits import load_split
from deepdigits.nn.prediction import to_unit
from deepdigits.ops.exit import exits_cleanly
from deepdigits.ops.launching import shares_training
from deepdigits.ops.lineage import stage_lineage
from deepdigits.ops.tracking import DatasetIdentity
from deepdigits.tasks.swap.config import TrainSwap
from deepdigits.tasks.swap.metrics import styles, swap_measures
from deepdigits.tasks.swap.network import digits_read, other_digits, swap_digits
from deepdigits.tasks.swap.training import SwapTraining, usual_handwriting
from pipelines.training import Recipe, train_network


class Parameters(StageParams):
    train_swap: TrainSwap


@exits_cleanly
@shares_training
def main() -> None:
    params = read_params(Parameters)
    prepare_training(params.compute)
    lineage = stage_lineage("train_swap", params.profile, params.compute.device)
    manifest = validated_manifest(paths.MANIFEST, paths.VERDICT)
    config, classes = params.train_swap, len(manifest["classes"])
    gan = config.net.gan.model_copy(update={"classes": classes})
    config = config.model_copy(update={"net": config.net.model_copy(update={"gan": gan})})
    train, validation = (load_split(paths.split_file(name)) for name in ("train", "validation"))

    torch.manual_seed(config.fit.seed)
    usual = usual_handwriting(to_unit(torch.from_numpy(train.images)), torch.from_numpy(train.labels), classes)
    module = SwapTraining(config, usual)

    def measure() -> dict[str, float]:
        """Use the swap's own reader: the CNN that judges the test images must not take part in training."""
        wanted = other_digits(validation.labels, classes)
        swapped = swap_digits(module.net, validation.images, wanted)
        return swap_measures(styles(validation.images), styles(swapped), digits_read(module.net, swapped), wanted)

    recipe = Recipe(
        "swap",
        config.net,
        config.fit,
        module,
        train.pairs,
        validation.pairs,
        measure,
        headline=("slant_correlation", ".3f"),
    )
    train_network(recipe, params.compute, lineage, DatasetIdentity.of(manifest))


if __name__ == "__main__":
    main()
