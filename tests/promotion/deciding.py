"""Decisions without a pipeline: models that are mere names, and intents that no rule has judged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from mlflow import MlflowClient

from deepdigits.core.files import sha256
from deepdigits.ops.tracking import experiment_id
from deepdigits.promotion import lease, ledger
from deepdigits.promotion.claims import EXPERIMENT, last_move
from deepdigits.promotion.recovery import begin
from deepdigits.promotion.transaction import CHAMPION, INTENT_TAG, PREVIOUS, Intent, alias_version, perform

RECORD = "# A record\n"


def make_model(client: MlflowClient, name: str, versions: int = 2, card: str = "# A card\n") -> str:
    client.create_registered_model(name, tags={"dataset.sha256": "d" * 64})
    for number in range(versions):
        client.create_model_version(name, f"s3://nowhere/{number}", description=card)
    return name


def intent(
    client: MlflowClient, name: str, version: int, action: str = "promoted", *, reasons: Sequence[str] = ("Better.",)
) -> Intent:
    """What a decision that has already begun would do."""
    last = last_move(ledger.claims(client), name)
    champion, previous = (alias_version(client, name, alias) for alias in (CHAMPION, PREVIOUS))
    after = (version, champion) if action == "promoted" else (champion, previous)
    return Intent(action, name, version, champion, *after, list(reasons), turn=last.number if last else 0)


def decide(client: MlflowClient, name: str, version: int, action: str = "promoted", **options: Any) -> None:
    begin(client, name)
    perform(client, intent(client, name, version, action, **options), RECORD, {})


def interrupted_decision(client: MlflowClient, name: str, version: int, **tags: str) -> str:
    """Record a decision that is binding but has changed nothing yet, and return its run ID."""
    all_tags = {
        "registry.action": "promoted",
        "registry.name": name,
        "registry.version": str(version),
        "registry.by": "somebody@elsewhere",
        "registry.record_sha256": sha256(RECORD.encode()),
        INTENT_TAG: json.dumps(asdict(intent(client, name, version))),
        **lease.signs_of_life(),
        **tags,
    }
    run_id = str(client.create_run(experiment_id(client, EXPERIMENT), tags=all_tags).info.run_id)
    client.log_text(run_id, RECORD, "decision.md")
    return run_id
