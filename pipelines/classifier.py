"""What `train_cnn` and `train_rnn` share: one classifier trained, selected by validation and written."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from pydantic import BaseModel

from deepdigits import paths
from deepdigits.calibration import fit_temperature, logits_of
from deepdigits.classifier_training import fit_classifier
from deepdigits.config.classifiers import Fit
from deepdigits.data.manifest import validated_manifest
from deepdigits.data.splits import Split, load_split
from deepdigits.files import file_sha256, write_csv, write_json
from deepdigits.lineage import Lineage
from deepdigits.models.classifier import Classifier
from deepdigits.tracking import DatasetIdentity, RunLog, stage_run
from deepdigits.training import Fitted, Metrics, report_epoch, work_dir
from deepdigits.weights import part_of, save_network

TEMPERATURE = "net.temperature.value"


def train_classifier(name: str, net: BaseModel, config: Fit, module: Classifier, lineage: Lineage) -> None:
    """Train `module` on the train split, keep the epoch with the lowest validation loss, write models/NAME."""
    dataset = DatasetIdentity.of(validated_manifest(paths.MANIFEST, paths.VERDICT))
    checkpoints = work_dir(paths.CHECKPOINTS, lineage.stage, lineage.resume_key)
    with stage_run(lineage, dataset, lineage.stage, {"model": name}, "training") as run:
        run.params({"net": net.model_dump(), "fit": config.model_dump()})

        def on_epoch(epoch: int, metrics: Metrics) -> None:
            run.metrics(metrics, step=epoch)
            report_epoch(lineage.stage, epoch, config.epochs, metrics)

        train, validation = (load_split(paths.split_file(split)) for split in ("train", "validation"))
        fitted = fit_classifier(module, train, validation, config, checkpoints, on_epoch)
        calibrate(module, fitted, validation)
        write_outputs(name, net, fitted, lineage.stage)
        log_outputs(run, name, dataset, fitted, lineage.stage)
    shutil.rmtree(checkpoints)


def calibrate(module: Classifier, fitted: Fitted, validation: Split) -> None:
    """Set the temperature of the best epoch's weights by the validation images."""
    module.load_state_dict(fitted.state)
    temperature = fit_temperature(logits_of(module.net, validation.images), validation.labels)
    fitted.state[TEMPERATURE] = torch.tensor(temperature)


def write_outputs(name: str, net: BaseModel, fitted: Fitted, stage: str) -> None:
    best = fitted.history[fitted.best_epoch]
    weights = part_of(fitted.state, "net.")
    summary = {
        f"{name}.val.accuracy": best["val/accuracy"],
        f"{name}.val.loss": best["val/loss"],
        f"{name}.val.temperature": float(fitted.state[TEMPERATURE]),
        f"{name}.best_epoch": fitted.best_epoch + 1,
        f"{name}.parameters": sum(weight.numel() for key, weight in weights.items() if not is_statistic(key)),
    }
    save_network(name, net, weights, model_file(name))
    write_csv(paths.PLOTS / f"{stage}.csv", fitted.history)
    write_json(paths.METRICS / f"{stage}.json", summary)


def log_outputs(run: RunLog, name: str, dataset: DatasetIdentity, fitted: Fitted, stage: str) -> None:
    best = fitted.history[fitted.best_epoch]
    temperature = float(fitted.state[TEMPERATURE])
    run.metrics({"best/accuracy": best["val/accuracy"], "best/loss": best["val/loss"], "temperature": temperature})
    run.tags({"model.sha256": file_sha256(model_file(name))})
    run.file(paths.PLOTS / f"{stage}.csv", "history")
    run.file(model_file(name), "weights")
    run.description(
        f"**{name.upper()}** on {dataset.title}. Best of {len(fitted.history)} epochs by validation loss: epoch "
        f"{fitted.best_epoch + 1} with **{best['val/accuracy']:.2%}**. Test figures are in the run evaluate_{name}."
    )


def model_file(name: str) -> Path:
    return paths.MODELS / name / "model.safetensors"


def is_statistic(key: str) -> bool:
    """Whether it was measured rather than trained."""
    return key.endswith(("running_mean", "running_var", "num_batches_tracked", "temperature.value"))
