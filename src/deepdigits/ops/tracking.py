"""Runs in MLflow: where the store is, and one run per stage and model."""

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
from mlflow.entities import Dataset, DatasetInput, Experiment, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from rich.console import Console
from rich.panel import Panel
from sqlalchemy.exc import SQLAlchemyError

from deepdigits.core import paths
from deepdigits.core.addresses import masked as masked
from deepdigits.core.errors import Terminated, UserError
from deepdigits.ops.lineage import Lineage
from deepdigits.ops.processes import process_identity, state
from deepdigits.ops.stores import check_address, is_full, reason, taking_turns

# With a server, MLflow prints where to look at each run: into what a machine may be reading, and with its password.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

STORE_DIR = Path("mlruns")
DEFAULT_URI = f"sqlite:///{STORE_DIR}/mlflow.db"
STORE_ERRORS = (MlflowException, SQLAlchemyError, sqlite3.Error, OSError)
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}

logging.getLogger("alembic").setLevel(logging.WARNING)
# A write that fails is told of in a line, by whoever wanted it; MLflow would print the whole traceback before that.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class DatasetIdentity:
    """Which data a run used: `name` (mnist or digits), `sha256` of its content, images per split, a title, and the
    folder they are in."""

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
    """Writes to one MLflow run. Once a write fails, that one and all after it wait in `backlog` for the end of the run:
    a store that is lost delays nothing and loses no training."""

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
        """Store a file, or a folder with all it holds."""
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
        """Write what had to wait, and close the run; if the store is still lost, say what to do."""
        waiting: list[Callable[[], object]] = [*self.backlog, partial(self.client.set_terminated, self.run_id, status)]
        self.backlog.clear()
        try:
            for write in waiting:
                write()
        except STORE_ERRORS as error:
            _warn(
                f"The MLflow store is still lost ({reason(error)}), so this run is not complete there. No output "
                "is missing. When the store is back, run: deepdigits summary, which logs the training again from files."
            )

    def _write(self, write: Callable[[], object]) -> None:
        if not self.backlog:
            try:
                write()
                return
            except STORE_ERRORS as error:
                what = "has no room on its disk; make some" if is_full(error) else "does not answer"
                _warn(
                    f"The MLflow store {what} ({reason(error)}). The work goes on; what is to be logged is kept, and "
                    "written when the work is done."
                )
        self.backlog.append(write)


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
    with _told_as_user_error("opened"):
        check_address(uri)
        if uri == DEFAULT_URI:
            _share_store_of_repository()
        # Two processes that create the tables at once corrupt a SQLite file for good.
        with taking_turns(uri, "open"):
            client = MlflowClient(uri)
            client.search_experiments(max_results=1)
    return client


def _share_store_of_repository() -> None:
    """Have what `dvc exp run --temp` and DVC's queue log in folders that they remove written to the repository's store.

    A link there leads to `mlruns/`, so that relative addresses mean the same.
    """
    root = Path(os.environ.get("DVC_ROOT", ".")).resolve()
    if Path.cwd().is_relative_to(root / ".dvc/tmp/exps"):
        (root / STORE_DIR).mkdir(exist_ok=True)
        with suppress(FileExistsError):
            STORE_DIR.symlink_to(root / STORE_DIR)


@contextmanager
def _told_as_user_error(what: str) -> Iterator[None]:
    uri = store_uri()
    try:
        yield
    except STORE_ERRORS as error:
        if is_full(error):
            advice = "Its disk is full. Make room there, and run the command again."
        elif uri == DEFAULT_URI:
            advice = "If it is damaged, move mlruns/ away; deepdigits summary then registers again from files."
        else:
            advice = "Check MLFLOW_TRACKING_URI, or unset it to use mlruns/ in this folder."
        raise UserError(f"The MLflow store {masked(uri)} cannot be {what}: {reason(error)}\n{advice}") from None


def experiment_id(client: MlflowClient, name: str) -> str:
    """The experiment of a dataset, created on first use.

    Raises:
        UserError: it has been deleted.
    """
    with taking_turns(store_uri(), "experiment"):
        found = client.get_experiment_by_name(name) or _create_experiment(client, name)
    if found.lifecycle_stage != "active":
        raise UserError(
            f"The experiment {name!r} in {masked(store_uri())} has been deleted, so nothing can be logged there. "
            f"Have it back with its runs: MLFLOW_TRACKING_URI={masked(store_uri())} "
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
        return client.get_experiment_by_name(name)  # of a server, which another process has asked first
    if local:
        # MLflow has made the location absolute. A relative one, like the store's own address, is meant from the
        # repository's root, so that the folder can be moved with everything in it.
        with closing(sqlite3.connect(STORE_DIR / "mlflow.db")) as database, database:
            change = "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?"
            database.execute(change, (relative, created))
    return client.get_experiment(created)


@contextmanager
def stage_run(
    lineage: Lineage, dataset: DatasetIdentity, name: str, tags: Mapping[str, str], context: str
) -> Iterator[RunLog]:
    """Open a run, and close it as finished, failed or killed, as the body ends."""
    client = open_store()
    with _told_as_user_error("written"):
        experiment = experiment_id(client, dataset.name)
        _close_orphans(client, experiment)
        tags = {**lineage.tags(), **dataset.tags(), **tags, "process": process_identity()}
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


def every(search: Callable[..., Any], *arguments: Any, **options: Any) -> Iterator[Any]:
    """All that an MLflow search finds, page by page; a search by itself ends at 100 models or 1,000 runs."""
    token = None
    while True:
        page = search(*arguments, **options, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


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
    """Mark runs whose process is surely gone (kill -9, power loss) as killed; MLflow never would.

    Those of other hosts and containers are left as they are: one there does it.
    """
    for run in every(client.search_runs, [experiment], "attributes.status = 'RUNNING'"):
        if state(run.data.tags.get("process", "")) == "gone":
            client.set_terminated(run.info.run_id, "KILLED")


def _warn(text: str) -> None:
    Console(stderr=True, highlight=False).print(Panel(text, title="tracking", border_style="yellow"), markup=False)
