"""`deepdigits audit`: the ledger recomputed, and held against what the store says."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from mlflow import MlflowClient

from deepdigits.core.files import sha256
from deepdigits.ops.tracking import STORE_ERRORS
from deepdigits.promotion import lease, ledger
from deepdigits.promotion.entries import Entry
from deepdigits.promotion.ledger import Ledger
from deepdigits.promotion.recovery import described
from deepdigits.promotion.registered import registered_here
from deepdigits.promotion.transaction import CHAMPION, PREVIOUS, RECORD, alias_version


def audit(client: MlflowClient) -> tuple[int, list[str]]:
    """The number of entries, and what does not agree, one sentence each."""
    found = ledger.load(client)
    faults = [*found.grave, *found.faults, *chain_of_champions(found.entries)]
    faults += [*_anchored(found), *_aliases(client, found.entries)]
    for entry in found.entries:
        faults += _evidence(client, entry)
    return len(found.entries), [*faults, *_unfinished(client)]


def _unfinished(client: MlflowClient) -> list[str]:
    return [
        f"{described(run)}: it was cut off; the next promote or rollback of the model completes or undoes it."
        if lease.holder(run) == "gone"
        else f"{described(run)}: it is being carried out, or was cut off on another machine (run {run.info.run_id})."
        for run in ledger.unfinished(client)
    ]


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
    """Of the models that this project registered or decided on; others in the store may have such aliases, too."""
    faults = []
    last = {entry["name"]: entry for entry in entries}
    for name in sorted(last.keys() | registered_here(client)):
        for alias in (CHAMPION, PREVIOUS):
            expected = last[name][alias] if name in last else None
            found = alias_version(client, name, alias)
            if found != expected:
                faults.append(
                    f"{name}: the alias {alias!r} stands on {_version(found)}, by the ledger it is "
                    f"{_version(expected)}: it was moved by hand."
                )
    return faults


def _anchored(found: Ledger) -> list[str]:
    """Where the ledger's file, its entries and the decisions' own copies differ."""
    faults = [
        f"Entry {entry['sequence']} of the ledger is not the one that its decision's run {entry['run_id']} holds."
        for entry in {entry["sha256"]: entry for entry in [*found.listed, *found.entries]}.values()
        if found.copies.get(entry["run_id"]) != entry
    ]
    # The file of a decision that is being carried out comes last.
    open_ones = found.copies.keys() - found.finished.keys()
    decided = {entry["run_id"]: entry for entry in found.entries if entry["run_id"] not in open_ones}
    decided |= found.finished
    listed = {entry["run_id"] for entry in found.listed}
    return faults + [
        f"The decision in run {run_id}, entry {entry['sequence']}, is missing from the ledger."
        for run_id, entry in decided.items()
        if run_id not in listed
    ]


def _evidence(client: MlflowClient, entry: Entry) -> list[str]:
    """Whether the record is still the one that was decided by."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = sha256(Path(client.download_artifacts(entry["run_id"], RECORD, folder)).read_bytes())
        except STORE_ERRORS:
            return [f"The record of entry {entry['sequence']} is missing from run {entry['run_id']}."]
    if found != entry["record_sha256"]:
        return [f"The record of entry {entry['sequence']} in run {entry['run_id']} was edited."]
    return []


def _version(number: int | None) -> str:
    return "no version" if number is None else f"version {number}"
