"""Atomic changes of the registry, even if a decision is interrupted or others decide at the same time.

A decision first writes its run, with the evidence. A tag with the intent then makes it binding. Next, the ledger
assigns it a number, unless another decision has moved the champion in the meantime. Finally, the aliases follow the
ledger. Every write can be repeated, so the next command completes what a crash left unfinished. Without the tag,
nothing has been changed, and the run is marked as killed.
"""

from __future__ import annotations

import contextlib
import json
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import Timeout
from mlflow import MlflowClient
from mlflow.entities import Metric, Run
from mlflow.exceptions import MlflowException
from pydantic import TypeAdapter

from deepdigits.core.errors import UserError
from deepdigits.core.files import sha256, write_json, write_text
from deepdigits.ops.people import account, claimed_user
from deepdigits.ops.stores import taking_turns
from deepdigits.ops.tracking import experiment_id, flatten, store_uri
from deepdigits.promotion import lease, ledger
from deepdigits.promotion.bounds import LIMIT, brief, cut, description
from deepdigits.promotion.claims import EXPERIMENT, Claim, last_move
from deepdigits.promotion.ledger import Overtaken

CHAMPION, PREVIOUS = "champion", "previous"
INTENT_TAG = "registry.intent"
RECORD = "decision.md"
RECORD_CUT = f"\n\n*Truncated. The full record is {RECORD}, an artifact of this run.*"


@dataclass(frozen=True)
class Intent:
    """One decision about `version` of model `name`, and the aliases after it. None means no such alias.

    `turn` is the number of the ledger's entry that had last moved the champion when the decision began: 0 if none had,
    None if an earlier release made the decision.
    """

    action: str
    name: str
    version: int
    champion_before: int | None
    champion: int | None
    previous: int | None
    reasons: list[str]
    facts: dict[str, Any] = field(default_factory=dict)
    turn: int | None = None


INTENT = TypeAdapter(Intent)


@contextlib.contextmanager
def exclusive() -> Iterator[None]:
    """Make promotions in a SQLite store take turns. On a server, the ledger decides which of several counts."""
    try:
        with taking_turns(store_uri(), "promotion"):
            yield
    except Timeout:
        raise UserError(
            "Another promotion has been running in this store for a long time. Try again when it is done."
        ) from None


def alias_version(client: MlflowClient, name: str, alias: str) -> int | None:
    try:
        return int(client.get_model_version_by_alias(name, alias).version)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def perform(client: MlflowClient, intent: Intent, record: str, evidence: Mapping[str, Any]) -> None:
    """Record the decision, make it binding and carry it out.

    Raises:
        Overtaken: the champion has been moved since the decision began; nothing was changed.
    """
    facts = {key: cut(value, 100) if isinstance(value, str) else value for key, value in intent.facts.items()}
    intent = replace(intent, reasons=brief(intent.reasons), facts=facts)
    run_id = _announce(client, intent, record)
    with lease.held(client, run_id):
        try:
            _bind(client, run_id, intent, record, evidence)
            complete(client, client.get_run(run_id))
        except Overtaken as why:
            undo(client, run_id, str(why))
            raise


def complete(client: MlflowClient, run: Run) -> Intent:
    """Carry out a binding decision. Each step may have been done already.

    Raises:
        Overtaken: it has no number in the ledger yet, and the champion has been moved since it began.
        UserError: a tag of its run is missing or malformed.
    """
    intent = read_intent(run)
    ledger.append(client, run.info.run_id, {**_circumstances(run), **asdict(intent)})
    while True:
        given = ledger.claims(client)
        if intent.champion != intent.champion_before:
            _follow(client, given, intent.name)
        _describe(client, intent)
        ledger.write_file(client)
        # A concurrent writer may have worked from fewer claims and overwritten this. If there are new claims, repeat.
        if ledger.claims(client) == given:
            break
    client.set_terminated(run.info.run_id, "FINISHED")
    return intent


def read_intent(run: Run) -> Intent:
    """Read the intent from the run of a decision.

    Raises:
        UserError: the tag is not a valid intent.
    """
    try:
        return INTENT.validate_json(run.data.tags[INTENT_TAG], strict=True)
    except ValueError:
        raise UserError(f"The tag {INTENT_TAG} of run {run.info.run_id} is malformed.") from None


def _circumstances(run: Run) -> dict[str, str]:
    tags = run.data.tags
    try:
        return {
            "time": datetime.fromtimestamp(run.info.start_time / 1000, UTC).isoformat(timespec="seconds"),
            "by": tags["registry.by"],
            "account": tags.get("registry.account", ""),
            "record_sha256": tags["registry.record_sha256"],
        }
    except KeyError as missing:
        raise UserError(f"The tag {missing} of run {run.info.run_id} is missing.") from None


def _announce(client: MlflowClient, intent: Intent, record: str) -> str:
    tags = {
        "registry.action": intent.action,
        "registry.name": intent.name,
        "registry.version": str(intent.version),
        "registry.by": cut(f"{claimed_user()}@{socket.gethostname()}", 200),
        "registry.account": account(),
        "registry.record_sha256": sha256(record.encode()),
        "mlflow.note.content": cut(record, LIMIT, RECORD_CUT),
        **lease.signs_of_life(),
    }
    title = f"{intent.action}: {intent.name} version {intent.version}"
    return str(client.create_run(experiment_id(client, EXPERIMENT), run_name=title, tags=tags).info.run_id)


def _bind(client: MlflowClient, run_id: str, intent: Intent, record: str, evidence: Mapping[str, Any]) -> None:
    client.log_batch(run_id, metrics=shown_metrics(evidence))
    with tempfile.TemporaryDirectory() as folder:
        write_text(Path(folder) / RECORD, record)
        write_json(Path(folder) / "evidence.json", evidence)
        client.log_artifacts(run_id, folder)
    found = alias_version(client, intent.name, CHAMPION)
    if found != intent.champion_before:
        raise Overtaken(
            f"In the meantime, the champion of {intent.name} was changed: it was "
            f"{intent.champion_before or 'none'} and is now {found or 'none'}. Nothing was done. Run the command again."
        )
    client.set_tag(run_id, INTENT_TAG, json.dumps(asdict(intent)))


def shown_metrics(evidence: Mapping[str, Any]) -> list[Metric]:
    """The numbers of a decision for MLflow's table of runs: what was compared, and the measures that have floors."""
    now = int(time.time() * 1000)
    numbers = flatten(evidence.get("numbers", {})) | {
        gate["metric"]: gate["value"] for gate in evidence.get("gates", [])
    }
    return [Metric(key, float(value), now, 0) for key, value in numbers.items() if isinstance(value, int | float)]


def _follow(client: MlflowClient, given: list[Claim], name: str) -> None:
    """Set the aliases as in the last entry that moved the champion, even if that entry is of another decision."""
    last = last_move(given, name)
    if last:
        _set_alias(client, name, PREVIOUS, last.previous)
        _set_alias(client, name, CHAMPION, last.champion)


def _set_alias(client: MlflowClient, name: str, alias: str, version: int | None) -> None:
    if version is not None:
        client.set_registered_model_alias(name, alias, str(version))
    elif alias_version(client, name, alias) is not None:
        client.delete_registered_model_alias(name, alias)


def _describe(client: MlflowClient, intent: Intent) -> None:
    """Write the latest decisions about the version above its model card."""
    mine = ledger.about(client, intent.name, intent.version)
    version = client.get_model_version(intent.name, str(intent.version))
    text = description(version.description or "", mine)
    client.update_model_version(intent.name, str(intent.version), description=text)
    client.set_model_version_tag(intent.name, str(intent.version), "promotion", mine[-1]["action"])
    client.set_model_version_tag(intent.name, str(intent.version), "promotion.ledger", str(mine[-1]["sequence"]))


def undo(client: MlflowClient, run_id: str, why: str) -> None:
    client.set_tag(run_id, "registry.undone", cut(why, 500))
    client.set_terminated(run_id, "KILLED")
