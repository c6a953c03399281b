"""Registers packaged files as model versions, which can be found again by their content."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from deepdigits.core.errors import UserError
from deepdigits.core.files import file_sha256
from deepdigits.export.runtime import golden_arrays
from deepdigits.ops.experiments import experiment_name
from deepdigits.ops.lineage import stage_lineage
from deepdigits.ops.runs import find_run
from deepdigits.ops.stores import reason, taking_turns
from deepdigits.ops.tracking import STORE_ERRORS, DatasetIdentity, experiment_id, open_store, stage_run, store_uri
from deepdigits.release.identity import CONTENTS, FILE_TAG, FILES, Contents, find_fault, read_contents
from deepdigits.tasks.contract import Task

logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)

CANDIDATE = "candidate"
WRITTEN_ON_DOWNLOAD = "registered_model_meta"  # MLflow writes it next to a version's files; it is not one of them
PACKAGED_FILES = (*FILES, CONTENTS)
SERVING_REQUIREMENTS = ("mlflow", "numpy", "onnxruntime", "pandas")
LINEAGE_TAGS = (
    "stage", "stage.fingerprint", "profile", "git.commit", "git.dirty", "environment.sha256", "environment.torch",
    "environment.cpu", "environment.device",
)  # fmt: skip


@dataclass(frozen=True)
class Packaged:
    """One packaged model. `directory` has its files; the folder `code` has the file that MLflow loads to serve it."""

    task: Task
    directory: Path
    code: Path
    dataset: DatasetIdentity
    history: list[dict[str, float]]
    description: Mapping[str, Any]
    profile: str

    @property
    def model(self) -> str:
        return self.task.name

    @property
    def name(self) -> str:
        return f"{self.dataset.name}-{self.model}"

    @property
    def weights_sha256(self) -> str:
        return file_sha256(self.directory / "model.safetensors")

    @property
    def contents(self) -> Contents:
        return read_contents(self.directory)

    @property
    def sha256(self) -> str:
        """The identity of the package: the hash of package.json, which names its weights, figures and files."""
        return file_sha256(self.directory / CONTENTS)

    def check(self) -> None:
        """Raise a UserError unless the files are one package of these weights."""
        if fault := find_fault(self.directory, self.code, self.weights_sha256):
            raise UserError(
                f"{self.directory} is not a complete package: {fault} Nothing was registered. Run: dvc repro"
            )


@dataclass(frozen=True)
class Registered:
    """A version in the registry. `new` is false if it was already there."""

    name: str
    version: int
    aliases: list[str]
    new: bool


def register(packaged: Packaged) -> Registered:
    """Register `packaged` with the alias `candidate`; if a version with the same content exists, only move the alias.

    A DVC experiment registers its version, too, but leaves the alias alone: an experiment is not a proposal to promote.
    The version belongs to the run that trained the weights. If the store has no such run (a fresh clone whose outputs
    came from the DVC cache), one is created from the files and marked as restored.

    Raises:
        UserError: the files do not belong together, or the store cannot be opened or written.
    """
    packaged.check()
    client = open_store()
    try:
        with taking_turns(store_uri(), "register"):
            existing = find_version(client, packaged)
            version = existing or _first_of(client, packaged, _create_version(client, packaged))
        if experiment_name() is None:
            client.set_registered_model_alias(packaged.name, CANDIDATE, str(version.version))
        aliases = client.get_model_version(packaged.name, str(version.version)).aliases
    except STORE_ERRORS as error:
        raise UserError(
            f"{packaged.name} could not be registered: {reason(error)}. To try again, run: deepdigits summary"
        ) from None
    return Registered(packaged.name, int(version.version), sorted(aliases), new=existing is None)


def _first_of(client: MlflowClient, packaged: Packaged, mine: ModelVersion) -> ModelVersion:
    """The first version with the same content. Ours is deleted if another process registered first on the same server.

    The server numbers versions one by one, so whoever has the higher number sees the lower one.
    """
    found = client.search_model_versions(f"name = '{packaged.name}' AND tags.`package.sha256` = '{packaged.sha256}'")
    first = min(found, key=lambda version: int(version.version), default=mine)
    if int(first.version) < int(mine.version):
        client.delete_model_version(packaged.name, str(mine.version))
        client.delete_logged_model(str(mine.source).rpartition("/")[2])
        if mine.run_id != first.run_id and client.get_run(mine.run_id).data.tags.get("restored"):
            client.delete_run(mine.run_id)
        return first
    return mine


def find_version(client: MlflowClient, packaged: Packaged) -> ModelVersion | None:
    """The version made from exactly the same files, if there is one."""
    found = client.search_model_versions(f"name = '{packaged.name}' AND tags.`package.sha256` = '{packaged.sha256}'")
    return max(found, key=lambda version: int(version.version)) if found else None


def _create_version(client: MlflowClient, packaged: Packaged) -> ModelVersion:
    experiment = experiment_id(client, packaged.dataset.name)
    wanted = {"stage": f"train_{packaged.model}", "model.sha256": packaged.weights_sha256}
    run = find_run(client, experiment, wanted) or _restore_run(client, packaged)
    model_id = _log_model(client, run, packaged)
    contents = packaged.contents
    card = (packaged.directory / "model_card.md").read_text(encoding="utf-8")
    _create_model(client, packaged)
    tags = {
        **{key: run.data.tags[key] for key in LINEAGE_TAGS if key in run.data.tags},
        **packaged.dataset.tags(),
        "model.sha256": packaged.weights_sha256,
        "onnx.sha256": file_sha256(packaged.directory / "model.onnx"),
        "package.sha256": packaged.sha256,
        **_file_tags(model_id, packaged),
        **{key: f"{value:.6g}" for key, value in contents.measures.items() if key in packaged.task.headlines},
    }
    return client.create_model_version(
        packaged.name, f"models:/{model_id}", run.info.run_id, tags=tags, description=card, model_id=model_id
    )


def _create_model(client: MlflowClient, packaged: Packaged) -> None:
    about = f"{packaged.model.upper()} on {packaged.dataset.title}. Each version's description is its model card."
    try:
        client.create_registered_model(packaged.name, tags=packaged.dataset.tags(), description=about)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _log_model(client: MlflowClient, run: Run, packaged: Packaged) -> str:
    interface, contents = packaged.task.interface, packaged.contents
    inputs, _ = golden_arrays(packaged.directory / "golden.npz")
    files = {Path(name).stem: str(packaged.directory / name) for name in PACKAGED_FILES if name != "model.onnx"}
    with mlflow.start_run(run_id=run.info.run_id):
        logged = mlflow.pyfunc.log_model(
            name=packaged.model,
            python_model=str(packaged.code / contents.code),
            artifacts={"onnx": str(packaged.directory / "model.onnx"), **files},
            signature=interface.signature,
            input_example=interface.example(inputs),
            pip_requirements=[f"{name}=={installed_version(name)}" for name in SERVING_REQUIREMENTS],
            tags={"package.sha256": packaged.sha256},
        )
    # Logging the model reopened the run. Restore the end time of the training.
    client.set_terminated(run.info.run_id, "FINISHED", run.info.end_time)
    for key, value in contents.measures.items():
        client.log_metric(
            run.info.run_id,
            key,
            value,
            model_id=logged.model_id,
            dataset_name=packaged.dataset.name,
            dataset_digest=packaged.dataset.sha256[:32],
        )
    return str(logged.model_id)


def _file_tags(model_id: str, packaged: Packaged) -> dict[str, str]:
    """The hash of each file of a version, as a tag per path: our files as packaged, MLflow's own as stored."""
    with tempfile.TemporaryDirectory() as folder:
        local = Path(mlflow.artifacts.download_artifacts(f"models:/{model_id}", dst_path=folder))
        files = [path for path in local.rglob("*") if path.is_file() and path.name != WRITTEN_ON_DOWNLOAD]
        found = {path.relative_to(local).as_posix(): file_sha256(path) for path in files}
    ours = {
        name if name == packaged.contents.code else f"artifacts/{name}": digest
        for name, digest in packaged.contents.files.items()
    }
    named = {**found, **ours, f"artifacts/{CONTENTS}": packaged.sha256}
    return {f"{FILE_TAG}{path}": digest for path, digest in sorted(named.items())}


def _restore_run(client: MlflowClient, packaged: Packaged) -> Run:
    """Recreate the training run from the files that it left."""
    stage = f"train_{packaged.model}"
    tags = {"model": packaged.model, "model.sha256": packaged.weights_sha256, "restored": "true"}
    with stage_run(
        stage_lineage(stage, packaged.profile), packaged.dataset, f"{stage} (restored)", tags, "training"
    ) as run:
        run.params({"net": packaged.description["config"]})
        for row in packaged.history:
            run.metrics({key: value for key, value in row.items() if key != "epoch"}, step=int(row["epoch"]))
        run.file(packaged.directory / "model.safetensors", "weights")
        run.description(
            f"**{packaged.model.upper()}** on {packaged.dataset.title}, restored from the pipeline's outputs: "
            "the training was not logged to this store. Times are those of the restore."
        )
    return client.get_run(run.run_id)
