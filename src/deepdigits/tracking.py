"""The only module that talks to MLflow tracking: where the store is, and one run per stage and model."""

from __future__ import annotations

import logging
import os
import re
import socket
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import psutil
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from deepdigits.errors import Terminated, UserError
from deepdigits.lineage import Lineage

STORE_DIR = Path("mlruns")
DEFAULT_URI = f"sqlite:///{STORE_DIR}/mlflow.db"
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}

for noisy in ("alembic", "mlflow.store.db.utils"):
    logging.getLogger(noisy).setLevel(logging.WARNING)


@dataclass(frozen=True)
class DatasetIdentity:
    """Which data a run used: `name` (mnist or digits), `sha256` of its content, images per split, and a title."""

    name: str
    sha256: str
    title: str
    counts: Mapping[str, int]

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> DatasetIdentity:
        counts = {split: int(entry["count"]) for split, entry in manifest["splits"].items()}
        return cls(manifest["name"], manifest["sha256"], manifest["title"], counts)

    def tags(self) -> dict[str, str]:
        return {"dataset.name": self.name, "dataset.sha256": self.sha256}


@dataclass(frozen=True)
class RunLog:
    """Writes to one MLflow run."""

    client: MlflowClient
    run_id: str

    def params(self, params: Mapping[str, Any]) -> None:
        entries = [Param(key, str(value)) for key, value in flatten(params).items()]
        self.client.log_batch(self.run_id, params=entries)

    def metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        now = int(time.time() * 1000)
        self.client.log_batch(self.run_id, metrics=[Metric(key, value, now, step) for key, value in metrics.items()])

    def tags(self, tags: Mapping[str, str]) -> None:
        self.client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    def description(self, markdown: str) -> None:
        self.tags({"mlflow.note.content": markdown})

    def file(self, path: Path, folder: str | None = None) -> None:
        """Store a file, or a folder with all it holds."""
        if path.is_dir():
            self.client.log_artifacts(self.run_id, str(path), folder or path.name)
        else:
            self.client.log_artifact(self.run_id, str(path), folder)

    def dataset(self, dataset: DatasetIdentity, context: str) -> None:
        entity = Dataset(
            name=dataset.name,
            digest=dataset.sha256[:32],
            source_type="local",
            source='{"uri": "data/processed"}',
            profile=str(dict(dataset.counts)).replace("'", '"'),
        )
        self.client.log_inputs(self.run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", context)])])


def store_uri() -> str:
    """`MLFLOW_TRACKING_URI`, or the SQLite store under `mlruns/`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI


def open_store() -> MlflowClient:
    """Connect to the store, which is made on first use if it is the one under `mlruns/`.

    Raises:
        UserError: the store cannot be opened.
    """
    uri = store_uri()
    mlflow.set_tracking_uri(uri)
    try:
        if uri != DEFAULT_URI:
            return _connect(uri)
        STORE_DIR.mkdir(exist_ok=True)
        # Two processes that create the tables at once corrupt the file for good.
        with FileLock(STORE_DIR / ".lock"):
            return _connect(uri)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise UserError(
            f"The MLflow store {_masked(uri)} cannot be opened: {_masked(str(error).splitlines()[0])}\n"
            "Check MLFLOW_TRACKING_URI, or unset it to use mlruns/ in this folder."
        ) from None


def _connect(uri: str) -> MlflowClient:
    client = MlflowClient(uri)
    client.search_experiments(max_results=1)
    return client


def experiment_id(client: MlflowClient, name: str) -> str:
    """The experiment of a dataset, created on first use."""
    found = client.get_experiment_by_name(name)
    if found:
        return str(found.experiment_id)
    relative = f"{STORE_DIR}/artifacts/{name}"
    if mlflow.get_tracking_uri() != DEFAULT_URI:
        return str(client.create_experiment(name, tags=EXPERIMENT_TAGS))
    created = str(client.create_experiment(name, artifact_location=relative, tags=EXPERIMENT_TAGS))
    # MLflow has made the location absolute. A relative one, like the store's own address, is meant from the
    # repository's root, so that the folder can be moved with everything in it.
    with closing(sqlite3.connect(STORE_DIR / "mlflow.db")) as database, database:
        database.execute("UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (relative, created))
    return created


@contextmanager
def stage_run(
    lineage: Lineage, dataset: DatasetIdentity, name: str, tags: Mapping[str, str], context: str
) -> Iterator[RunLog]:
    """Open a run, and close it as finished, failed or killed, as the body ends."""
    client = open_store()
    experiment = experiment_id(client, dataset.name)
    _close_orphans(client, experiment)
    run = client.create_run(
        experiment,
        run_name=name,
        tags={**lineage.tags(), **dataset.tags(), **tags, "process": f"{socket.gethostname()}:{os.getpid()}"},
    )
    log = RunLog(client, run.info.run_id)
    log.dataset(dataset, context)
    try:
        yield log
    except (KeyboardInterrupt, Terminated):
        client.set_terminated(log.run_id, "KILLED")
        raise
    except BaseException as error:
        log.tags({"failure": _masked(str(error))[:5000] or type(error).__name__})
        client.set_terminated(log.run_id, "FAILED")
        raise
    client.set_terminated(log.run_id, "FINISHED")


def find_run(client: MlflowClient, experiment: str, tags: Mapping[str, str]) -> Run | None:
    """The newest finished run that carries all `tags`."""
    terms = [f"tags.`{key}` = '{value}'" for key, value in tags.items()] + ["attributes.status = 'FINISHED'"]
    found = client.search_runs(
        [experiment], " AND ".join(terms), max_results=1, order_by=["attributes.start_time DESC"]
    )
    return found[0] if found else None


def flatten(nest: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` to `{"a.b": 1}`."""
    flat: dict[str, Any] = {}
    for key, value in nest.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _close_orphans(client: MlflowClient, experiment: str) -> None:
    """Mark runs of this machine whose process is gone (kill -9, power loss) as killed; MLflow never would."""
    here = socket.gethostname()
    for run in client.search_runs([experiment], "attributes.status = 'RUNNING'"):
        host, _, pid = run.data.tags.get("process", "").rpartition(":")
        if host == here and not psutil.pid_exists(int(pid)):
            client.set_terminated(run.info.run_id, "KILLED")


def _masked(text: str) -> str:
    """Hide the login in every `scheme://user:password@host`; MLflow's own messages quote the whole address."""
    return re.sub(r"://[^/\s@]+@", "://***@", text)
