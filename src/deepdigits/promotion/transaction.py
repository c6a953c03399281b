"""A change of the registry that is made wholly or not at all, whenever it is cut off.

A decision's run is written first, with its evidence; a tag with the intent makes it binding. Every write after that can
be repeated, so the next command completes what a crash left. Without the tag nothing has been changed, and the run is
marked as killed.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout
from mlflow import MlflowClient
from mlflow.entities import Metric, Run
from mlflow.exceptions import MlflowException

from deepdigits.errors import UserError
from deepdigits.files import sha256, write_json, write_text
from deepdigits.promotion import ledger
from deepdigits.tracking import DEFAULT_URI, STORE_DIR, experiment_id, flatten, store_uri

CHAMPION, PREVIOUS = "champion", "previous"
INTENT_TAG = "registry.intent"
RECORD = "decision.md"
MARK = "\n\n<!-- model card -->\n\n"


@dataclass(frozen=True)
class Intent:
    """One decision about `version` of model `name`, and the aliases as they shall be; None: no such alias."""

    action: str
    name: str
    version: int
    champion_before: int | None
    champion: int | None
    previous: int | None
    reasons: list[str]
    facts: dict[str, Any] = field(default_factory=dict)


@contextlib.contextmanager
def exclusive() -> Iterator[None]:
    """Two promotions in the store under mlruns/ at once take turns; a server's are told apart by their entries."""
    if store_uri() != DEFAULT_URI:
        yield
        return
    try:
        with FileLock(STORE_DIR / ".promotion.lock", timeout=120):
            yield
    except Timeout:
        raise UserError(
            "Another promotion has been at work in mlruns/ for two minutes. Try again when it is done."
        ) from None


def alias_version(client: MlflowClient, name: str, alias: str) -> int | None:
    try:
        return int(client.get_model_version_by_alias(name, alias).version)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def perform(client: MlflowClient, intent: Intent, record: str, evidence: Mapping[str, Any]) -> None:
    """Write the decision down, make it binding, carry it out."""
    run_id = _announce(client, intent, record, evidence)
    complete(client, client.get_run(run_id))


def complete(client: MlflowClient, run: Run) -> Intent:
    """Carry out what a binding decision intends; each step may have been done before."""
    intent = Intent(**json.loads(run.data.tags[INTENT_TAG]))
    if intent.champion != intent.champion_before:
        _set_alias(client, intent.name, PREVIOUS, intent.previous)
        _set_alias(client, intent.name, CHAMPION, intent.champion)
    content = {
        "time": datetime.fromtimestamp(run.info.start_time / 1000, UTC).isoformat(timespec="seconds"),
        "by": run.data.tags["registry.by"],
        "record_sha256": run.data.tags["registry.record_sha256"],
        **asdict(intent),
    }
    ledger.append(client, run.info.run_id, content)
    _describe(client, intent)
    client.set_terminated(run.info.run_id, "FINISHED")
    return intent


@dataclass(frozen=True)
class Recovered:
    """What was found cut off, and what became of it, as a sentence; `intent` if it was completed."""

    said: str
    intent: Intent | None


def recover(client: MlflowClient) -> list[Recovered]:
    """Complete or undo what was cut off, before anything else is decided.

    Raises:
        UserError: a process that still runs is at it, or the ledger's chain is broken.
    """
    ledger.restore(client)
    found = []
    for run in ledger.unfinished(client):
        tags = run.data.tags
        what = f"{tags['registry.name']} version {tags['registry.version']} {tags['registry.action']}"
        host, _, pid = tags["process"].rpartition(":")
        mine = host == socket.gethostname()
        if mine and int(pid) != os.getpid() and psutil.pid_exists(int(pid)):
            raise UserError(f"Process {pid} is at work ({what}). Try again when it is done.")
        if INTENT_TAG in tags:
            found.append(Recovered(f"Completed: {what}, which was cut off.", complete(client, run)))
        elif mine:
            client.set_terminated(run.info.run_id, "KILLED")
            found.append(Recovered(f"Undone: {what}, which was cut off before it had changed anything.", None))
    return found


def _announce(client: MlflowClient, intent: Intent, record: str, evidence: Mapping[str, Any]) -> str:
    tags = {
        "registry.action": intent.action,
        "registry.name": intent.name,
        "registry.version": str(intent.version),
        "registry.by": f"{getpass.getuser()}@{socket.gethostname()}",
        "registry.record_sha256": sha256(record.encode()),
        "process": f"{socket.gethostname()}:{os.getpid()}",
        "mlflow.note.content": record,
    }
    title = f"{intent.action}: {intent.name} version {intent.version}"
    run_id = str(client.create_run(experiment_id(client, ledger.EXPERIMENT), run_name=title, tags=tags).info.run_id)
    client.log_batch(run_id, metrics=shown_metrics(evidence))
    with tempfile.TemporaryDirectory() as folder:
        write_text(Path(folder) / RECORD, record)
        write_json(Path(folder) / "evidence.json", evidence)
        client.log_artifacts(run_id, folder)
    client.set_tag(run_id, INTENT_TAG, json.dumps(asdict(intent)))
    return run_id


def shown_metrics(evidence: Mapping[str, Any]) -> list[Metric]:
    """A decision in numbers, for MLflow's table of runs: what was compared, and the measures that have floors."""
    now = int(time.time() * 1000)
    numbers = flatten(evidence.get("numbers", {})) | {
        gate["metric"]: gate["value"] for gate in evidence.get("gates", [])
    }
    return [Metric(key, float(value), now, 0) for key, value in numbers.items() if isinstance(value, int | float)]


def _set_alias(client: MlflowClient, name: str, alias: str, version: int | None) -> None:
    if version is not None:
        client.set_registered_model_alias(name, alias, str(version))
    elif alias_version(client, name, alias) is not None:
        client.delete_registered_model_alias(name, alias)


def _describe(client: MlflowClient, intent: Intent) -> None:
    """Put all decisions about the version above its model card."""
    mine = ledger.about(client, intent.name, intent.version)
    version = client.get_model_version(intent.name, str(intent.version))
    card = (version.description or "").partition(MARK)[2] or version.description or ""
    lines = [
        f"- **{entry['action']}** on {entry['time'][:10]} (ledger entry {entry['sequence']}): "
        + " ".join(entry["reasons"])
        for entry in mine
    ]
    text = "## Decisions\n\n" + "\n".join(lines) + MARK + card
    client.update_model_version(intent.name, str(intent.version), description=text)
    client.set_model_version_tag(intent.name, str(intent.version), "promotion", mine[-1]["action"])
    client.set_model_version_tag(intent.name, str(intent.version), "promotion.ledger", str(mine[-1]["sequence"]))
