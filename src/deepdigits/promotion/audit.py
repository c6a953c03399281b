"""`deepdigits audit`: the ledger recomputed, and held against what the store says."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from deepdigits.files import sha256
from deepdigits.promotion import ledger
from deepdigits.promotion.ledger import Entry
from deepdigits.promotion.transaction import CHAMPION, PREVIOUS, RECORD, alias_version


def audit(client: MlflowClient) -> tuple[int, list[str]]:
    """The number of entries, and what does not agree, one sentence each."""
    entries, faults = ledger.read(client)
    faults = [*faults, *chain_of_champions(entries), *_anchored(client, entries), *_aliases(client, entries)]
    for entry in entries:
        faults += _evidence(client, entry)
    faults += [
        f"The {run.data.tags['registry.action']} of {run.data.tags['registry.name']} was cut off; the next promote or "
        "rollback completes or undoes it."
        for run in ledger.unfinished(client)
    ]
    return len(entries), faults


def chain_of_champions(entries: Sequence[Entry]) -> list[str]:
    """Where a decision found another champion than the decision before had left."""
    left: dict[str, int | None] = {}
    faults = []
    for entry in entries:
        expected = left.get(entry["name"])
        if entry["champion_before"] != expected:
            faults.append(
                f"{entry['name']}: entry {entry['sequence']} found {_version(entry['champion_before'])} as champion, "
                f"but the decision before had left {_version(expected)}: the alias was moved by hand in between."
            )
        left[entry["name"]] = entry["champion"]
    return faults


def _aliases(client: MlflowClient, entries: Sequence[Entry]) -> list[str]:
    faults = []
    last = {entry["name"]: entry for entry in entries}
    for name in sorted(model.name for model in client.search_registered_models()):
        for alias in (CHAMPION, PREVIOUS):
            expected = last[name][alias] if name in last else None
            found = alias_version(client, name, alias)
            if found != expected:
                faults.append(
                    f"{name}: the alias {alias!r} stands on {_version(found)}, by the ledger it is "
                    f"{_version(expected)}: it was moved by hand."
                )
    return faults


def _anchored(client: MlflowClient, entries: Sequence[Entry]) -> list[str]:
    """Where the ledger and the decisions' own copies differ."""
    anchors = ledger.anchors(client)
    listed = {entry.get("run_id"): entry for entry in entries}
    faults = [
        f"Entry {entry['sequence']} of the ledger is not the one that its decision's run {run_id} holds."
        for run_id, entry in listed.items()
        if anchors.get(str(run_id)) != entry
    ]
    return faults + [
        f"The decision in run {run_id}, entry {entry['sequence']}, is missing from the ledger."
        for run_id, entry in anchors.items()
        if run_id not in listed
    ]


def _evidence(client: MlflowClient, entry: Entry) -> list[str]:
    """Whether the record is still the one that was decided by."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = sha256(Path(client.download_artifacts(entry["run_id"], RECORD, folder)).read_bytes())
        except (MlflowException, OSError):
            return [f"The record of entry {entry['sequence']} is missing from run {entry['run_id']}."]
    if found != entry["record_sha256"]:
        return [f"The record of entry {entry['sequence']} in run {entry['run_id']} was edited."]
    return []


def _version(number: int | None) -> str:
    return "no version" if number is None else f"version {number}"
