"""What `train_cnn` and `train_rnn` share: one classifier trained, selected by validation and written."""

from __future__ import annotations

import shutil
from functools import partial

from pydantic import BaseModel

from deepdigits import paths
from deepdigits.config import Fit
from deepdigits.data.augmentation import random_affine
from deepdigits.data.batches import InMemoryData
from deepdigits.data.splits import load_split
from deepdigits.files import file_sha256, read_json, write_csv, write_json
from deepdigits.lineage import Lineage
from deepdigits.models.classifier import Classifier
from deepdigits.tracking import DatasetIdentity, stage_run
from deepdigits.training import Metrics, fit, report_epoch, work_dir
from deepdigits.weights import part_of, save_network


def train_classifier(name: str, net: BaseModel, config: Fit, module: Classifier, lineage: Lineage) -> None:
    """Train `module` on the train split, keep the epoch with the best validation accuracy, write models/NAME."""
    dataset = DatasetIdentity.of(read_json(paths.MANIFEST))
    train, validation = (load_split(paths.split_file(split)) for split in ("train", "validation"))
    data = InMemoryData(
        train,
        validation,
        batch_size=config.batch_size,
        steps_per_epoch=config.steps_per_epoch,
        seed=config.seed,
        augment=partial(random_affine, config=config.augmentation),
    )
    checkpoints = work_dir(paths.CHECKPOINTS, lineage.stage, lineage.fingerprint)
    with stage_run(lineage, dataset, lineage.stage, {"model": name}, "training") as run:
        run.params({"net": net.model_dump(), "fit": config.model_dump()})

        def on_epoch(epoch: int, metrics: Metrics) -> None:
            run.metrics(metrics, step=epoch)
            report_epoch(lineage.stage, epoch, config.epochs, metrics)

        fitted = fit(
            module,
            data,
            epochs=config.epochs,
            seed=config.seed,
            monitor="val/accuracy",
            mode="max",
            checkpoint_dir=checkpoints,
            on_epoch=on_epoch,
            gradient_clip=config.gradient_clip,
        )
        best = fitted.history[fitted.best_epoch]
        weights = part_of(fitted.state, "net.")
        summary = {
            f"{name}.val.accuracy": best["val/accuracy"],
            f"{name}.val.loss": best["val/loss"],
            f"{name}.best_epoch": fitted.best_epoch + 1,
            f"{name}.parameters": sum(weight.numel() for key, weight in weights.items() if "running" not in key),
        }
        model_file = paths.MODELS / name / "model.safetensors"
        save_network(name, net, weights, model_file)
        write_csv(paths.PLOTS / f"{lineage.stage}.csv", fitted.history)
        write_json(paths.METRICS / f"{lineage.stage}.json", summary)

        run.metrics({"best/accuracy": best["val/accuracy"], "best/loss": best["val/loss"]})
        run.tags({"model.sha256": file_sha256(model_file)})
        run.file(paths.PLOTS / f"{lineage.stage}.csv", "history")
        run.file(model_file, "weights")
        run.description(
            f"**{name.upper()}** on {dataset.title}. Best of {config.epochs} epochs by validation accuracy: epoch "
            f"{fitted.best_epoch + 1} with **{best['val/accuracy']:.2%}**. Test figures are in the run evaluate_{name}."
        )
    shutil.rmtree(checkpoints)
