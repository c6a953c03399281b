"""The append-only list of all decisions: `promotions.jsonl`, each entry sealed by its hash over the one before.

It is an artifact of the run `ledger` in the store's experiment `registry`, so that all who share a store share it. Each
entry also stands as a tag on the run of its decision: what is edited in one place no longer agrees with the other, and
what a crash has cut off is put back.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from deepdigits.errors import UserError
from deepdigits.files import sha256, write_text
from deepdigits.stores import reason
from deepdigits.tracking import experiment_id

EXPERIMENT = "registry"
FILE = "promotions.jsonl"
ENTRY_TAG = "ledger.entry"
START = "0" * 64  # what the first entry names as the hash of the one before
ATTEMPTS = 5

Entry = dict[str, Any]


def seal(content: Mapping[str, Any], last: Entry | None) -> Entry:
    """`content` as the entry that follows `last`."""
    entry = {**content, "sequence": last["sequence"] + 1 if last else 1, "before": last["sha256"] if last else START}
    return {**entry, "sha256": digest(entry)}


def digest(entry: Mapping[str, Any]) -> str:
    """SHA-256 over the entry without its own hash, as JSON with sorted keys."""
    content = {key: value for key, value in entry.items() if key != "sha256"}
    return sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())


def parse(text: str) -> tuple[list[Entry], list[str]]:
    """The entries of a ledger file, and what is wrong with the chain, one sentence each. A last line that was cut off
    is left out."""
    entries: list[Entry] = []
    faults: list[str] = []
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        try:
            entry = json.loads(line)
            if not isinstance(entry, dict) or not {"sequence", "before", "sha256"} <= entry.keys():
                raise ValueError
        except ValueError:
            faults.append(f"Line {number} of the ledger is no entry.")
            continue
        last = entries[-1] if entries else None
        if digest(entry) != entry["sha256"]:
            faults.append(f"Entry {entry['sequence']} of the ledger was edited: its hash is another.")
        if entry["before"] != (last["sha256"] if last else START):
            faults.append(f"Entry {entry['sequence']} of the ledger does not follow the one before it.")
        entries.append(entry)
    return entries, faults


def serialise(entries: Sequence[Entry]) -> str:
    return "".join(json.dumps(entry, sort_keys=True) + "\n" for entry in entries)


def read(client: MlflowClient) -> tuple[list[Entry], list[str]]:
    """The ledger of a store, and what is wrong with its chain."""
    run = _ledger_run(client)
    if run is None or FILE not in {item.path for item in client.list_artifacts(run.info.run_id)}:
        return [], []
    with tempfile.TemporaryDirectory() as folder:
        return parse(Path(client.download_artifacts(run.info.run_id, FILE, folder)).read_text(encoding="utf-8"))


def about(client: MlflowClient, name: str, version: int | None = None) -> list[Entry]:
    """The entries of one model, or of one version of it, the oldest first."""
    return [entry for entry in read(client)[0] if entry.get("name") == name and version in (None, entry.get("version"))]


def append(client: MlflowClient, run_id: str, content: Mapping[str, Any]) -> Entry:
    """Add the entry of the decision that run `run_id` holds, unless it is there.

    Raises:
        UserError: the ledger's chain is broken, or other writers keep coming first.
    """
    for _ in range(ATTEMPTS):
        entries = restore(client)
        found = next((entry for entry in entries if entry.get("run_id") == run_id), None)
        if found:
            return found
        entry = seal({**content, "run_id": run_id}, entries[-1] if entries else None)
        client.set_tag(run_id, ENTRY_TAG, json.dumps(entry, sort_keys=True))
        _write(client, [*entries, entry])
        # Another writer may have put its own list over ours in between.
        if any(written.get("run_id") == run_id for written in read(client)[0]):
            return entry
    raise UserError("The ledger could not be written, since others write it at the same time. Run the command again.")


def restore(client: MlflowClient) -> list[Entry]:
    """The entries; an end that a crash or another writer cut off is put back from the decisions' own copies.

    Raises:
        UserError: the chain is broken.
    """
    entries, _ = read(client)
    present = len(entries)
    known = {entry.get("run_id") for entry in entries}
    for anchor in sorted(anchors(client).values(), key=lambda entry: int(entry["sequence"])):
        if anchor["run_id"] not in known and anchor["before"] == (entries[-1]["sha256"] if entries else START):
            entries.append(anchor)
    faults = parse(serialise(entries))[1]
    if faults:
        raise UserError(f"{faults[0]} Nothing is decided on such a ledger. See: deepdigits audit")
    if len(entries) > present:
        _write(client, entries)
    return entries


def anchors(client: MlflowClient) -> dict[str, Entry]:
    """Each decision's own copy of its entry, by run."""
    runs = decision_runs(client, f"tags.`{ENTRY_TAG}` LIKE '%'")
    return {run.info.run_id: json.loads(run.data.tags[ENTRY_TAG]) for run in runs}


def decision_runs(client: MlflowClient, condition: str) -> list[Run]:
    """Runs in the experiment `registry` that meet an MLflow search condition, the oldest first."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return []
    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs(
            [experiment.experiment_id], condition, order_by=["attributes.start_time ASC"], page_token=token
        )
        found += page
        token = page.token
        if not token:
            return found


def unfinished(client: MlflowClient) -> list[Run]:
    """The decisions that are being carried out, or were cut off."""
    return decision_runs(client, "attributes.status = 'RUNNING' AND tags.`registry.action` LIKE '%'")


def _write(client: MlflowClient, entries: Sequence[Entry]) -> None:
    run = _ledger_run(client) or client.create_run(
        experiment_id(client, EXPERIMENT), run_name="ledger", tags={"registry.ledger": "true"}
    )
    with tempfile.TemporaryDirectory() as folder:
        write_text(Path(folder) / FILE, serialise(entries))
        client.log_artifact(run.info.run_id, str(Path(folder) / FILE))
    if run.info.status != "FINISHED":
        client.set_terminated(run.info.run_id)


def _ledger_run(client: MlflowClient) -> Run | None:
    try:
        found = decision_runs(client, "tags.`registry.ledger` = 'true'")
    except MlflowException as error:
        raise UserError(f"The ledger cannot be read: {reason(error)}") from None
    return found[0] if found else None
