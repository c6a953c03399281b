"""MLflow tracking: locates the store and logs one run per stage and model."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Experiment, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from rich.console import Console
from rich.panel import Panel
from sqlalchemy.exc import SQLAlchemyError

from deepdigits.core import paths
from deepdigits.core.addresses import masked as masked
from deepdigits.core.errors import Terminated, UserError
from deepdigits.ops.experiments import experiment_name, trial_tags
from deepdigits.ops.lineage import Lineage
from deepdigits.ops.people import claimed_user
from deepdigits.ops.processes import process_identity
from deepdigits.ops.runs import close_orphans, trained_before
from deepdigits.ops.stores import check_address, is_full, reason, taking_turns

# With a server, MLflow prints each run's URL. That would corrupt machine-readable output and expose the password.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

STORE_DIR = Path("mlruns")
DEFAULT_URI = f"sqlite:///{STORE_DIR}/mlflow.db"
STORE_ERRORS = (MlflowException, SQLAlchemyError, sqlite3.Error, OSError)
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}

logging.getLogger("alembic").setLevel(logging.WARNING)
# The caller reports a failed write in one line. MLflow would print the whole traceback first.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class DatasetIdentity:
    """Which data a run used: `name` (mnist or digits), `sha256` of the content, `title`, images per split in `counts`,
    and the `folder` that contains them."""

    name: str
    sha256: str
    title: str
    counts: Mapping[str, int]
    folder: Path = paths.PROCESSED

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> DatasetIdentity:
        counts = {split: int(entry["count"]) for split, entry in manifest["splits"].items()}
        folder = paths.SCENES if "origin_sha256" in manifest else paths.PROCESSED
        return cls(manifest["name"], manifest["sha256"], manifest["title"], counts, folder)

    def tags(self) -> dict[str, str]:
        return {"dataset.name": self.name, "dataset.sha256": self.sha256}


@dataclass(frozen=True)
class RunLog:
    """Writes to one MLflow run.

    Once a write fails, that write and all later ones wait in `backlog` until the run ends. A lost store therefore
    delays nothing and costs no training.
    """

    client: MlflowClient
    run_id: str
    backlog: list[Callable[[], object]] = field(default_factory=list)

    def params(self, params: Mapping[str, Any]) -> None:
        entries = [Param(key, str(value)) for key, value in flatten(params).items()]
        self._write(partial(self.client.log_batch, self.run_id, params=entries))

    def metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        now = int(time.time() * 1000)
        entries = [Metric(key, value, now, step) for key, value in metrics.items()]
        self._write(partial(self.client.log_batch, self.run_id, metrics=entries))

    def tags(self, tags: Mapping[str, str]) -> None:
        entries = [RunTag(key, value) for key, value in tags.items()]
        self._write(partial(self.client.log_batch, self.run_id, tags=entries))

    def description(self, markdown: str) -> None:
        self.tags({"mlflow.note.content": markdown})

    def file(self, path: Path, folder: str | None = None) -> None:
        """Log a file, or a folder with everything in it."""
        if path.is_dir():
            self._write(partial(self.client.log_artifacts, self.run_id, str(path), folder or path.name))
        else:
            self._write(partial(self.client.log_artifact, self.run_id, str(path), folder))

    def dataset(self, dataset: DatasetIdentity, context: str) -> None:
        entity = Dataset(
            name=dataset.name,
            digest=dataset.sha256[:32],
            source_type="local",
            source=json.dumps({"uri": dataset.folder.as_posix()}),
            profile=str(dict(dataset.counts)).replace("'", '"'),
        )
        inputs = [DatasetInput(entity, [InputTag("mlflow.data.context", context)])]
        self._write(partial(self.client.log_inputs, self.run_id, inputs))

    def end(self, status: str) -> None:
        """Write the backlog and close the run. If the store is still unavailable, say what to do."""
        waiting: list[Callable[[], object]] = [*self.backlog, partial(self.client.set_terminated, self.run_id, status)]
        self.backlog.clear()
        try:
            for write in waiting:
                write()
        except STORE_ERRORS as error:
            _warn(
                f"The MLflow store is still unavailable ({reason(error)}), so this run is incomplete there. No output "
                "is missing. When the store is back, run `deepdigits summary` to log the training again from the files."
            )

    def _write(self, write: Callable[[], object]) -> None:
        if not self.backlog:
            try:
                write()
                return
            except STORE_ERRORS as error:
                what = "is out of disk space; free some" if is_full(error) else "is not responding"
                _warn(
                    f"The MLflow store {what} ({reason(error)}). Work continues; log entries are kept and written at "
                    "the end."
                )
        self.backlog.append(write)


def store_uri() -> str:
    """`MLFLOW_TRACKING_URI`, or the SQLite store under `mlruns/`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI


def open_store() -> MlflowClient:
    """Connect to the store. The one under `mlruns/` is created on first use.

    Raises:
        UserError: the store cannot be opened.
    """
    uri = store_uri()
    mlflow.set_tracking_uri(uri)
    with _store_errors_as_user_error("opened"):
        check_address(uri)
        if uri == DEFAULT_URI:
            _share_store_of_repository()
        # Two processes that create the tables at once would corrupt a SQLite file for good.
        with taking_turns(uri, "open"):
            client = MlflowClient(uri)
            client.search_experiments(max_results=1)
    return client


def _share_store_of_repository() -> None:
    """Make runs in DVC's temporary experiment folders log to the repository's store.

    `dvc exp run --temp` and DVC's queue remove these folders afterwards. A symlink to the repository's `mlruns/` keeps
    relative addresses valid.
    """
    root = Path(os.environ.get("DVC_ROOT", ".")).resolve()
    if Path.cwd().is_relative_to(root / ".dvc/tmp/exps"):
        (root / STORE_DIR).mkdir(exist_ok=True)
        with suppress(FileExistsError):
            STORE_DIR.symlink_to(root / STORE_DIR)


@contextmanager
def _store_errors_as_user_error(what: str) -> Iterator[None]:
    uri = store_uri()
    try:
        yield
    except STORE_ERRORS as error:
        if is_full(error):
            advice = "Its disk is full. Free some space there and run the command again."
        elif uri == DEFAULT_URI:
            advice = "If it is corrupt, move mlruns/ away; `deepdigits summary` then registers again from the files."
        else:
            advice = "Check MLFLOW_TRACKING_URI, or unset it to use mlruns/ in this folder."
        raise UserError(f"The MLflow store {masked(uri)} cannot be {what}: {reason(error)}\n{advice}") from None


def experiment_id(client: MlflowClient, name: str) -> str:
    """The experiment of a dataset, created on first use.

    Raises:
        UserError: the experiment has been deleted.
    """
    with taking_turns(store_uri(), "experiment"):
        found = client.get_experiment_by_name(name) or _create_experiment(client, name)
    if found.lifecycle_stage != "active":
        raise UserError(
            f"The experiment {name!r} in {masked(store_uri())} has been deleted, so nothing can be logged there. "
            f"Restore it and its runs: MLFLOW_TRACKING_URI={masked(store_uri())} "
            f"mlflow experiments restore --experiment-id {found.experiment_id}"
        )
    return str(found.experiment_id)


def _create_experiment(client: MlflowClient, name: str) -> Experiment:
    relative = f"{STORE_DIR}/artifacts/{name}"
    local = store_uri() == DEFAULT_URI
    try:
        created = client.create_experiment(name, artifact_location=relative if local else None, tags=EXPERIMENT_TAGS)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return client.get_experiment_by_name(name)  # on a server, where another process created it first
    if local:
        # MLflow has made the location absolute. Make it relative to the repository root, like the store's own address,
        # so that the folder can be moved with everything in it.
        with closing(sqlite3.connect(STORE_DIR / "mlflow.db")) as database, database:
            statement = "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?"
            database.execute(statement, (relative, created))
    return client.get_experiment(created)


@contextmanager
def stage_run(
    lineage: Lineage, dataset: DatasetIdentity, name: str, tags: Mapping[str, str], context: str
) -> Iterator[RunLog]:
    """Open a run, and close it as finished, failed or killed, depending on how the body ends."""
    client = open_store()
    with _store_errors_as_user_error("written"):
        experiment = experiment_id(client, dataset.name)
        close_orphans(client, experiment)
        is_training = context == "training" and "restored" not in tags
        if is_training and (already := trained_before(client, experiment, lineage)):
            _warn(already)
        tags = {**lineage.tags(), **dataset.tags(), **tags, **_process_tags(), **trial_tags()}
        run = client.create_run(experiment, run_name=name, tags=tags)
    log = RunLog(client, run.info.run_id)
    log.dataset(dataset, context)
    try:
        yield log
    except (KeyboardInterrupt, Terminated):
        log.end("KILLED")
        raise
    except BaseException as error:
        log.tags({"failure": masked(str(error))[:5000] or type(error).__name__})
        log.end("FAILED")
        raise
    log.end("FINISHED")


def flatten(nest: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten `{"a": {"b": 1}}` to `{"a.b": 1}`."""
    flat: dict[str, Any] = {}
    for key, value in nest.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _process_tags() -> dict[str, str]:
    trial = experiment_name()
    return {"process": process_identity(), "mlflow.user": claimed_user()} | ({"dvc.experiment": trial} if trial else {})


def _warn(text: str) -> None:
    Console(stderr=True, highlight=False).print(Panel(text, title="tracking", border_style="yellow"), markup=False)
