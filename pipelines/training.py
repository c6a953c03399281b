"""Shared by the stages that select a network by validation loss: train it, write the outputs, and log the run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel
from torch import Tensor

from deepdigits.core import paths
from deepdigits.core.environment import environment_metrics
from deepdigits.core.files import file_sha256, write_csv, write_json
from deepdigits.core.measures import weights_file
from deepdigits.core.sections import Compute
from deepdigits.ops.lineage import Lineage
from deepdigits.ops.tracking import DatasetIdentity, RunLog, stage_run
from deepdigits.training.batches import VALIDATION_BATCH, Augment, Pairs
from deepdigits.training.config import CycleFit
from deepdigits.training.fitting import fit_to_loss
from deepdigits.training.processes import place
from deepdigits.training.sharding import ShardedTraining
from deepdigits.training.trainer import Fitted, Metrics, OnEpoch, report_epoch, work_dir
from deepdigits.training.weights import part_of, save_network


@dataclass(frozen=True)
class Recipe:
    """How to train one network.

    Attributes:
        name: the model's name; the model is written to models/NAME.
        net, fit: the sections of params.yaml.
        module: the module to train; its `net` is kept.
        train, validation: images uint8 `(n, height, width)` and a target for each.
        measure: computes metrics on validation once `module` has the best epoch's weights. It also sets whatever is
            fitted to those weights, e.g. a temperature or a threshold.
        headline: the most important metric, and its format.
        augment: the augmentation of training images.
        validation_batch: the batch size for validation.
        weights: how often each training image is drawn, relative to the others; all equally often by default.
    """

    name: str
    net: BaseModel
    fit: CycleFit
    module: ShardedTraining
    train: Pairs
    validation: Pairs
    measure: Callable[[], dict[str, float]]
    headline: tuple[str, str]
    augment: Augment | None = None
    validation_batch: int = VALIDATION_BATCH
    weights: Tensor | None = None


def train_network(recipe: Recipe, compute: Compute, lineage: Lineage, dataset: DatasetIdentity) -> None:
    """Train, keep the best epoch, write models/NAME and the files for `dvc metrics` and `dvc plots`, log the run."""
    checkpoints = work_dir(paths.CHECKPOINTS, lineage.stage, lineage.resume_key)
    if place().index:  # another process logs and writes
        _fit(recipe, compute, checkpoints, lambda *_: None)
        return
    with stage_run(lineage, dataset, lineage.stage, {"model": recipe.name}, "training") as run:
        run.params({"net": recipe.net.model_dump(), "fit": recipe.fit.model_dump()})

        def on_epoch(epoch: int, metrics: Metrics) -> None:
            run.metrics(metrics, step=epoch)
            report_epoch(lineage.stage, epoch, recipe.fit.epochs, metrics)

        fitted = _fit(recipe, compute, checkpoints, on_epoch)
        recipe.module.load_state_dict(fitted.state)
        found = recipe.measure()
        write_outputs(recipe, fitted, found, lineage)
        log_outputs(recipe, fitted, found, lineage.stage, run, dataset.title)
    shutil.rmtree(checkpoints)


def _fit(recipe: Recipe, compute: Compute, checkpoints: Path, on_epoch: OnEpoch) -> Fitted:
    return fit_to_loss(
        recipe.module,
        recipe.train,
        recipe.validation,
        recipe.fit,
        checkpoints,
        on_epoch,
        augment=recipe.augment,
        weights=recipe.weights,
        validation_batch=recipe.validation_batch,
        compute=compute,
    )


def write_outputs(recipe: Recipe, fitted: Fitted, found: dict[str, float], lineage: Lineage) -> None:
    weights = part_of(recipe.module.state_dict(), "net.")
    summary = {
        **{f"val.{name}": value for name, value in validation_measures(fitted).items()},
        **{f"val.{name}": value for name, value in found.items()},
        "best_epoch": fitted.best_epoch + 1,
        "parameters": sum(weight.numel() for key, weight in weights.items() if not is_statistic(key)),
    }
    save_network(recipe.name, recipe.net, weights, weights_file(recipe.name))
    write_csv(paths.PLOTS / f"{lineage.stage}.csv", fitted.history)
    named = {f"{recipe.name}.{key}": value for key, value in summary.items()}
    environment = environment_metrics(recipe.name, lineage.environment)
    write_json(paths.METRICS / f"{lineage.stage}.json", {**named, **environment})


def log_outputs(recipe: Recipe, fitted: Fitted, found: dict[str, float], stage: str, run: RunLog, title: str) -> None:
    measures = validation_measures(fitted) | found
    name, shown = recipe.headline
    run.metrics({f"best/{key}": value for key, value in measures.items()})
    run.tags({"model.sha256": file_sha256(weights_file(recipe.name))})
    run.file(paths.PLOTS / f"{stage}.csv", "history")
    run.file(weights_file(recipe.name), "weights")
    run.description(
        f"**{recipe.name.upper()}** on {title}. Best of {len(fitted.history)} epochs by validation loss: epoch "
        f"{fitted.best_epoch + 1}, {name} **{measures[name]:{shown}}**. Test metrics are in the run "
        f"evaluate_{recipe.name}."
    )


def validation_measures(fitted: Fitted) -> dict[str, float]:
    best = fitted.history[fitted.best_epoch]
    return {key.removeprefix("val/"): value for key, value in best.items() if key.startswith("val/")}


def is_statistic(key: str) -> bool:
    """Whether a weight was measured rather than trained, and so does not count as a parameter."""
    return key.endswith(("running_mean", "running_var", "num_batches_tracked", "temperature.value", "threshold"))
