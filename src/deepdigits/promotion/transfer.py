"""`deepdigits promote NAME --from URI --to URI`: copy a champion, its training run and its evidence to another store.

It arrives there as a candidate. Whether it becomes champion is decided there, by the same rules.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import mlflow
import requests
from mlflow import MlflowClient
from mlflow.entities import Metric, Run
from mlflow.exceptions import MlflowException

from deepdigits.core.errors import UserError
from deepdigits.core.files import file_sha256, read_json, write_json
from deepdigits.data.digits.manifest import validated_manifest
from deepdigits.ops.runs import find_run
from deepdigits.ops.tracking import DatasetIdentity, RunLog, experiment_id, masked, open_store
from deepdigits.promotion import ledger
from deepdigits.promotion.registered import RegisteredModel, fetch, find
from deepdigits.promotion.transaction import CHAMPION, RECORD
from deepdigits.release.identity import read_contents
from deepdigits.release.registry import LINEAGE_TAGS, PACKAGED_FILES, Packaged, Registered, register
from deepdigits.tasks.catalogue import TASKS

WEIGHTS = "model.safetensors"
BATCH = 1000  # metrics per request, the most that MLflow accepts


@dataclass(frozen=True)
class Consignment:
    """Everything that goes to the other store. The files are in `package` and `evidence`."""

    model: RegisteredModel
    run: Run
    history: Mapping[str, list[tuple[int, float, int]]]
    package: Path
    evidence: Path


def transfer(name: str, source: str, target: str) -> Registered:
    """Make the champion of one store a candidate in another. A second call finds it there.

    Raises:
        UserError: a store cannot be opened (before anything is written), has no such champion or fails during the copy,
            or the data here are not those of the model.
    """
    with using_store(target):
        open_store()  # reports a wrong address or password before anything is done
    with tempfile.TemporaryDirectory() as folder, _naming_both(source, target):
        with using_store(source):
            consignment = collect(name, source, Path(folder))
        data = TASKS[consignment.model.kind].data
        manifest = validated_manifest(data.manifest, data.verdict)
        if manifest["sha256"] != consignment.model.tags["dataset.sha256"]:
            raise UserError(
                f"{consignment.model.title} was made with different data than those here; nothing was copied."
            )
        with using_store(target):
            return deliver(consignment, DatasetIdentity.of(manifest), masked(source))


@contextlib.contextmanager
def using_store(uri: str) -> Iterator[None]:
    """Point this whole process at another store."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    os.environ["MLFLOW_TRACKING_URI"] = uri
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        os.environ.pop("MLFLOW_TRACKING_URI")
        if before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before


@contextlib.contextmanager
def _naming_both(source: str, target: str) -> Iterator[None]:
    try:
        yield
    except (MlflowException, requests.RequestException) as error:
        raise UserError(
            f"Copying from {masked(source)} to {masked(target)} failed: {masked(str(error).splitlines()[0])}\n"
            "No alias was moved. Run the command again."
        ) from None


def collect(name: str, uri: str, folder: Path) -> Consignment:
    """Read the champion, its training run and the decision that made it champion."""
    client = open_store()
    version = find(client, f"{name}@{CHAMPION}", CHAMPION)
    model = fetch(version, folder, uri)
    if not model.named_files:
        raise UserError(
            f"{model.title} was registered before files were named by hash. Package it again (make repro-all), and "
            "promote it."
        )
    run = client.get_run(model.run_id)
    package, evidence = folder / "package", folder / "evidence"
    evidence.mkdir()
    package.mkdir()
    weights = Path(client.download_artifacts(model.run_id, f"weights/{WEIGHTS}", str(folder)))
    weights.rename(package / WEIGHTS)
    if file_sha256(package / WEIGHTS) != model.tags["model.sha256"]:
        raise UserError(f"{model.title}: the weights in its training run are not those that were registered.")
    (model.files.parent / read_contents(model.files).code).rename(package / read_contents(model.files).code)
    for file in PACKAGED_FILES:
        (model.files / file).rename(package / file)
    decisions = ledger.about(client, name, model.version)
    write_json(evidence / "ledger_entries.json", decisions)
    if decisions:
        client.download_artifacts(decisions[-1]["run_id"], RECORD, str(evidence))
    history = {
        key: [(point.step, point.value, point.timestamp) for point in client.get_metric_history(model.run_id, key)]
        for key in run.data.metrics
    }
    return Consignment(model, run, history, package, evidence)


def deliver(consignment: Consignment, dataset: DatasetIdentity, origin: str) -> Registered:
    """Write the run, then the version. The version comes last, since it is what counts."""
    client = open_store()
    model = consignment.model
    experiment = experiment_id(client, dataset.name)
    stage = consignment.run.data.tags["stage"]
    if not find_run(client, experiment, {"stage": stage, "model.sha256": model.tags["model.sha256"]}):
        _copy_run(client, experiment, consignment, dataset, origin)
    packaged = Packaged(
        task=TASKS[model.kind],
        directory=consignment.package,
        code=consignment.package,
        dataset=dataset,
        history=[],
        description=read_json(consignment.package / "model.json"),
        profile=model.tags["profile"],
    )
    registered = register(packaged)
    client.set_model_version_tag(registered.name, str(registered.version), "origin.store", origin)
    client.set_model_version_tag(registered.name, str(registered.version), "origin.version", str(model.version))
    return registered


def _copy_run(
    client: MlflowClient, experiment: str, consignment: Consignment, dataset: DatasetIdentity, origin: str
) -> None:
    run = consignment.run
    kept = {key: value for key, value in run.data.tags.items() if key in (*LINEAGE_TAGS, "model", "model.sha256")}
    tags = {**kept, **dataset.tags(), "origin.store": origin, "origin.run": run.info.run_id}
    copy = client.create_run(experiment, start_time=run.info.start_time, run_name=run.info.run_name, tags=tags)
    log = RunLog(client, copy.info.run_id)
    try:
        log.params(run.data.params)
        log.dataset(dataset, "training")
        points = [
            Metric(key, value, timestamp, step)
            for key, curve in consignment.history.items()
            for step, value, timestamp in curve
        ]
        for start in range(0, len(points), BATCH):
            client.log_batch(log.run_id, metrics=points[start : start + BATCH])
        log.file(consignment.package / WEIGHTS, "weights")
        log.file(consignment.evidence, "origin")
        log.description(
            f"{run.data.tags.get('mlflow.note.content', '')}\n\nCopied from {origin}; the evidence is under `origin/`."
        )
    except BaseException:
        client.set_terminated(log.run_id, "FAILED")
        raise
    client.set_terminated(log.run_id, "FINISHED", run.info.end_time)
