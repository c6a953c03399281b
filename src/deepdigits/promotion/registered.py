"""Registered versions and their files, fetched from the store and checked against the hashes in the store."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.entities.model_registry import RegisteredModel as RegisteredModelEntry
from mlflow.exceptions import MlflowException

from deepdigits.core.errors import UserError
from deepdigits.core.files import file_sha256, sha256
from deepdigits.ops.runs import every
from deepdigits.ops.stores import reason
from deepdigits.promotion.transaction import alias_version
from deepdigits.release.identity import CONTENTS, FILE_TAG, FILES, find_fault, read_contents


@dataclass(frozen=True)
class RegisteredModel:
    """One version. `files` is the folder of the packaged files; its parent holds the files that MLflow added."""

    name: str
    version: int
    run_id: str
    tags: Mapping[str, str]
    files: Path

    @property
    def kind(self) -> str:
        """The name of its task."""
        return self.name.rpartition("-")[2]

    @property
    def dataset(self) -> str:
        return self.name.rpartition("-")[0]

    @property
    def onnx(self) -> Path:
        return self.files / "model.onnx"

    @property
    def title(self) -> str:
        return f"{self.name} version {self.version}"

    @property
    def named_files(self) -> dict[str, str]:
        """The SHA-256 of each file, by path; empty if the version was registered before files were named by hash."""
        return {key.removeprefix(FILE_TAG): value for key, value in self.tags.items() if key.startswith(FILE_TAG)}

    @property
    def judged_by(self) -> dict[str, str]:
        """The weights SHA-256 of each model that judged the registered figures; empty if none are named."""
        return read_contents(self.files).judged_by if self.named_files else {}


def parse_reference(reference: str) -> tuple[str, str | None, int | None]:
    """Split `NAME`, `NAME@alias` or `NAME/version` into name, alias and version."""
    found = re.fullmatch(r"([A-Za-z0-9_.-]+)(?:@([A-Za-z][A-Za-z0-9_-]*)|/([1-9]\d{0,8}))?", reference)
    if not found:
        raise UserError(
            f"{reference!r} is not a model. Write NAME, NAME@alias or NAME/version, e.g. mnist-cnn@champion."
        )
    return found[1], found[2], int(found[3]) if found[3] else None


def find_model(client: MlflowClient, name: str) -> RegisteredModelEntry:
    """The registry's entry for a model.

    Raises:
        UserError: there is none; the message lists the models.
    """
    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
    names = ", ".join(sorted(registered_here(client))) or "none; run make repro"
    raise UserError(f"The registry has no model {name!r}. It has: {names}.")


def registered_here(client: MlflowClient) -> set[str]:
    """The names of all models that this project registered. A tag marks them, since others may share the store."""
    models = every(client.search_registered_models)
    return {model.name for model in models if "dataset.sha256" in model.tags}


def find(client: MlflowClient, reference: str, default_alias: str) -> ModelVersion:
    """The version that a reference means; a bare name means its `default_alias`.

    Raises:
        UserError: there is no such model, alias or version; the message lists those that exist.
    """
    name, alias, number = parse_reference(reference)
    find_model(client, name)
    if number is None:
        alias = alias or default_alias
        number = alias_version(client, name, alias)
        if number is None:
            raise UserError(f"{name} has no version with the alias {alias!r}. {_existing(client, name)}")
    try:
        return client.get_model_version(name, str(number))
    except MlflowException:
        raise UserError(f"{name} has no version {number}. {_existing(client, name)}") from None


def fetch(version: ModelVersion, into: Path, uri: str) -> RegisteredModel:
    """Download the files of a version.

    Raises:
        UserError: a file is missing or is not the one that was registered.
    """
    source = f"models:/{version.name}/{version.version}"
    folder = into / f"{version.name}-{version.version}"
    folder.mkdir(parents=True)
    try:
        local = mlflow.artifacts.download_artifacts(source, dst_path=str(folder), tracking_uri=uri)
    except (MlflowException, OSError) as error:
        raise UserError(
            f"The files of {version.name} version {version.version} cannot be read: {reason(error)}"
        ) from None
    tags = dict(version.tags)
    model = RegisteredModel(version.name, int(version.version), str(version.run_id), tags, Path(local) / "artifacts")
    if fault := _fault(model):
        raise UserError(
            f"{model.title}: {fault} Restore the store's files, or delete the version (make ui) and register it again: "
            "deepdigits summary"
        )
    return model


def _fault(model: RegisteredModel) -> str | None:
    """The first difference between a version's files and those that were registered, as a sentence."""
    named = {"artifacts/model.onnx": str(model.tags.get("onnx.sha256")), **model.named_files}
    for path, expected in named.items():
        file = model.files.parent / path
        found = file_sha256(file) if file.is_file() else "missing"
        if found != expected:
            return f"{path} is {found[:12]}, not the one that was registered ({expected[:12]})."
    weights = str(model.tags.get("model.sha256"))
    packaged = file_sha256(model.files / CONTENTS) if model.named_files else _old_sha256(model.files, weights)
    if packaged != model.tags.get("package.sha256"):
        return "its files taken together are not what was registered (package.sha256)."
    return find_fault(model.files, model.files.parent, weights) if model.named_files else None


def _old_sha256(files: Path, weights: str) -> str:
    """The package hash of a version that was registered before files were named by hash."""
    hashes = [file_sha256(files / name) if (files / name).is_file() else "missing" for name in FILES]
    return sha256("".join([weights, *hashes]).encode())


def measures_of(client: MlflowClient, version: ModelVersion) -> dict[str, float]:
    """The measures of a version on the test images. `version.model_id` is empty on SQLite; its source is not."""
    logged = client.get_logged_model(version.model_id or str(version.source).rpartition("/")[2])
    return {metric.key: metric.value for metric in logged.metrics or []}


def _existing(client: MlflowClient, name: str) -> str:
    model = client.get_registered_model(name)
    aliases = ", ".join(f"@{alias} (version {number})" for alias, number in sorted(model.aliases.items()))
    count = sum(1 for _ in every(client.search_model_versions, f"name = '{name}'"))
    return f"There are {count} versions; aliases: {aliases or 'none'}."
