"""Stage `train_gan`: train the conditional GAN until its samples fool the discriminator while staying varied."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from deepdigits.core import paths
from deepdigits.core.compute import prepare_training
from deepdigits.core.environment import environment_metrics
from deepdigits.core.files import file_sha256, write_csv, write_json
from deepdigits.core.loading import read_params
from deepdigits.core.measures import weights_file
from deepdigits.core.sections import Compute, StageParams
from deepdigits.data.digits.manifest import validated_manifest
from deepdigits.data.digits.splits import load_split
from deepdigits.ops.exit import exits_cleanly
from deepdigits.ops.launching import shares_training
from deepdigits.ops.lineage import Lineage, stage_lineage
from deepdigits.ops.tracking import DatasetIdentity, RunLog, stage_run
from deepdigits.plotting.figures import save_animation
from deepdigits.tasks.gan.config import TrainGan
from deepdigits.tasks.gan.monitor import MONITOR, FoolRateStopping, ValidationMeasures
from deepdigits.tasks.gan.training import FOOL_RATE, ConditionalGan
from deepdigits.training.data_module import InMemoryData
from deepdigits.training.processes import place
from deepdigits.training.trainer import Fitted, Metrics, fit, report_epoch, work_dir
from deepdigits.training.weights import part_of, save_network

MODEL = weights_file("gan")
DISCRIMINATOR = paths.MODELS / "gan" / "discriminator.safetensors"


class Parameters(StageParams):
    train_gan: TrainGan


@exits_cleanly
@shares_training
def main() -> None:
    params = read_params(Parameters)
    prepare_training(params.compute)
    lineage = stage_lineage("train_gan", params.profile, params.compute.device)
    manifest = validated_manifest(paths.MANIFEST, paths.VERDICT)
    dataset, config = DatasetIdentity.of(manifest), for_classes(params.train_gan, len(manifest["classes"]))
    checkpoints = work_dir(paths.CHECKPOINTS, "train_gan", lineage.resume_key)
    stopping = FoolRateStopping(config.stop)
    if place().index:  # another process logs and writes
        train(config, params.compute, checkpoints, stopping, None)
        return
    with stage_run(lineage, dataset, "train_gan", {"model": "gan"}, "training") as run:
        run.params(config.model_dump())
        fitted = train(config, params.compute, checkpoints, stopping, run)
        write_outputs(config, fitted, stopping.reason, lineage)
        shutil.rmtree(paths.GAN_PROGRESS, ignore_errors=True)
        shutil.copytree(checkpoints / "grids", paths.GAN_PROGRESS)
        save_animation(sorted(paths.GAN_PROGRESS.glob("*.png")), paths.GAN_PROGRESS / "progress.gif")
        log_outputs(run, dataset, fitted, stopping.reason)
    shutil.rmtree(checkpoints)


def for_classes(config: TrainGan, classes: int) -> TrainGan:
    """The same training for networks with another number of classes."""
    return config.model_copy(update={"net": config.net.model_copy(update={"classes": classes})})


def train(
    config: TrainGan, compute: Compute, checkpoints: Path, stopping: FoolRateStopping, run: RunLog | None
) -> Fitted:
    train_split, validation = (load_split(paths.split_file(split)) for split in ("train", "validation"))
    torch.manual_seed(config.seed)
    data = InMemoryData(
        (train_split.images, train_split.labels),
        None,
        batch_size=config.batch_size,
        steps_per_epoch=config.steps_per_epoch,
        seed=config.seed,
    )
    measures = ValidationMeasures(
        train_split, validation, config.samples_per_class, config.net, config.seed, checkpoints / "grids"
    )

    def on_epoch(epoch: int, metrics: Metrics) -> None:
        if run:
            run.metrics(metrics, step=epoch)
            run.file(checkpoints / "grids" / f"epoch_{epoch:03d}.png", "progress")
            report_epoch("train_gan", epoch, config.max_epochs, metrics)

    return fit(
        ConditionalGan(config),
        data,
        epochs=config.max_epochs,
        seed=config.seed,
        monitor=MONITOR,
        mode="min",
        checkpoint_dir=checkpoints,
        on_epoch=on_epoch,
        callbacks=[measures, stopping],
        compute=compute,
    )


def write_outputs(config: TrainGan, fitted: Fitted, stopped_by: str, lineage: Lineage) -> None:
    best = fitted.history[fitted.best_epoch]
    save_network("generator", config.net, part_of(fitted.state, "averaged.module."), MODEL)
    save_network("discriminator", config.net, part_of(fitted.state, "discriminator."), DISCRIMINATOR)
    write_csv(paths.PLOTS / "train_gan.csv", fitted.history)
    summary = {
        "gan.best_epoch": fitted.best_epoch + 1,
        "gan.epochs": len(fitted.history),
        "gan.stopped_by": stopped_by,
        "gan.train.fool_rate": best[FOOL_RATE],
        "gan.val.diversity": best["val/diversity"],
        "gan.val.frechet": best[MONITOR],
        **environment_metrics("gan", lineage.environment),
    }
    write_json(paths.METRICS / "train_gan.json", summary)


def log_outputs(run: RunLog, dataset: DatasetIdentity, fitted: Fitted, stopped_by: str) -> None:
    best = fitted.history[fitted.best_epoch]
    run.metrics({f"best/{name.removeprefix('val/')}": best[name] for name in best if name.startswith("val/")})
    run.tags({"model.sha256": file_sha256(MODEL), "stopped_by": stopped_by})
    run.file(paths.PLOTS / "train_gan.csv", "history")
    run.file(MODEL, "weights")
    run.file(paths.GAN_PROGRESS / "progress.gif", "progress")
    cause = (
        "the samples fooled the discriminator often enough and stayed varied"
        if stopped_by == "fool_rate"
        else "it reached the maximum number of epochs"
    )
    run.description(
        f"**GAN** on {dataset.title}. Training stopped after {len(fitted.history)} epochs because {cause}. "
        f"Kept epoch {fitted.best_epoch + 1}, the best by Frechet distance to the validation images. "
        "Sample grids from fixed noise, one per epoch, are under `progress/`. Test metrics are in the run evaluate_gan."
    )


if __name__ == "__main__":
    main()
