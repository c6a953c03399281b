"""`deepdigits audit`: recompute the ledger and compare it with the store."""

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
    """The number of entries, and every disagreement as one sentence."""
    found = ledger.load(client)
    faults = [*found.grave, *found.faults, *chain_of_champions(found.entries)]
    faults += [*_anchored(found), *_aliases(client, found.entries)]
    for entry in found.entries:
        faults += _evidence(client, entry)
    return len(found.entries), [*faults, *_unfinished(client)]


def _unfinished(client: MlflowClient) -> list[str]:
    return [
        f"{described(run)}: it was interrupted; the next promote or rollback of the model completes or undoes it."
        if lease.holder(run) == "gone"
        else f"{described(run)}: it is in progress, or was interrupted on another machine (run {run.info.run_id})."
        for run in ledger.unfinished(client)
    ]


def chain_of_champions(entries: Sequence[Entry]) -> list[str]:
    """Report every decision that found a different champion than the previous decision had left."""
    left: dict[str, int | None] = {}
    faults = []
    for entry in entries:
        expected = left.get(entry["name"])
        if entry["champion_before"] != expected:
            faults.append(
                f"{entry['name']}: entry {entry['sequence']} found {_version(entry['champion_before'])} as champion, "
                f"but the previous decision had left {_version(expected)}: the alias was moved by hand in between."
            )
        left[entry["name"]] = entry["champion"]
    return faults


def _aliases(client: MlflowClient, entries: Sequence[Entry]) -> list[str]:
    """Check the models that this project registered or decided on. Others in the store may use the same aliases."""
    faults = []
    last = {entry["name"]: entry for entry in entries}
    for name in sorted(last.keys() | registered_here(client)):
        for alias in (CHAMPION, PREVIOUS):
            expected = last[name][alias] if name in last else None
            found = alias_version(client, name, alias)
            if found != expected:
                faults.append(
                    f"{name}: the alias {alias!r} points to {_version(found)}, but the ledger says "
                    f"{_version(expected)}: it was moved by hand."
                )
    return faults


def _anchored(found: Ledger) -> list[str]:
    """Report where the ledger's file, its entries and the decisions' own copies differ."""
    faults = [
        f"Entry {entry['sequence']} of the ledger does not match the copy in its decision's run {entry['run_id']}."
        for entry in {entry["sha256"]: entry for entry in [*found.listed, *found.entries]}.values()
        if found.copies.get(entry["run_id"]) != entry
    ]
    # A decision writes the file last, so one that is in progress may not be listed yet.
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
    """Check that the record has not changed since the decision."""
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
