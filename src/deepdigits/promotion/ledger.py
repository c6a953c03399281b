"""The append-only list of all decisions in a store, in an order that the store itself decides.

Each entry has a number that the store gave to it alone (`deepdigits.promotion.claims`). The entry itself stands as a
tag on the run of its decision, and in `promotions.jsonl`, an artifact of the run `ledger`, for people; either can be
made anew from the other.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from deepdigits.core.errors import UserError
from deepdigits.core.files import write_text
from deepdigits.promotion.claims import Claim, claim, decision_runs, given, last_move, ledger_run, settled_run, sound
from deepdigits.promotion.entries import START, Entry, digest, follow, parse, read_entry, seal, serialise

FILE = "promotions.jsonl"
ENTRY_TAG = "ledger.entry"
ATTEMPTS = 200  # each that fails is an entry of somebody else


class Overtaken(UserError):
    """Another decision, or a hand, has moved the champion since this decision began."""


@dataclass(frozen=True)
class Ledger:
    """What a store says of its decisions: `entries`, in order; beside them the file's (`listed`) and the decisions' own
    copies, by run. `faults` are sentences: no decision is made on a ledger that has `grave` ones."""

    claims: Sequence[Claim]
    entries: Sequence[Entry]
    listed: Sequence[Entry]
    copies: Mapping[str, Entry]
    finished: Mapping[str, Entry]
    grave: Sequence[str]
    faults: Sequence[str]


def load(client: MlflowClient) -> Ledger:
    """Read all of it; what a hand or a crash has left in an entry is a fault there, and no error.

    Raises:
        UserError: the run of the ledger is not in the store.
    """
    run = ledger_run(client)
    numbers, grave = given(run)
    listed, faults = parse(_file(client, run) if run else "")
    copies, finished, damaged = _copies(client)
    whole = {entry["sha256"]: entry for entry in [*listed, *copies.values()] if digest(entry) == entry["sha256"]}
    entries = [whole[own.sha256] for own in numbers if own.sha256 in whole]
    grave += [
        f"Entry {own.number} of the ledger was edited or lost: neither run {own.run_id} nor the file has the one that "
        f"the number was given to (SHA-256 {own.sha256[:12]}...)."
        for own in numbers
        if own.sha256 not in whole
    ]
    # Earlier releases gave no numbers: their entries follow from the file, and where it was cut off from the copies.
    entries += follow([*listed, *finished.values()], len(numbers), numbers[-1].sha256 if numbers else START)
    decided = {entry["sha256"] for entry in entries}
    for entry in listed:
        if digest(entry) != entry["sha256"]:
            grave.append(f"Entry {entry['sequence']} of the ledger was edited: its hash is another.")
        elif entry["sha256"] not in decided:
            grave.append(f"Entry {entry['sequence']} of the ledger's file is not the one that was decided.")
    faults = [fault for fault in faults if fault not in grave]
    return Ledger(numbers, entries, listed, copies, finished, grave, [*faults, *damaged])


def about(client: MlflowClient, name: str, version: int | None = None) -> list[Entry]:
    """The entries of one model, or of one version of it, the oldest first."""
    return [entry for entry in load(client).entries if entry["name"] == name and version in (None, entry["version"])]


def claims(client: MlflowClient) -> list[Claim]:
    """All numbers that were given.

    Raises:
        UserError: they cannot be read.
    """
    return sound(ledger_run(client))


def append(client: MlflowClient, run_id: str, content: Mapping[str, Any]) -> None:
    """Add the entry of the decision that run `run_id` holds, unless it is there.

    `content["turn"]` is the number of the entry that had last moved the champion when the decision began, 0 if none
    had, None if an earlier release decided.

    Raises:
        Overtaken: the champion was moved since then.
        UserError: the ledger cannot be read or written.
    """
    content = {**content, "run_id": run_id}
    home = settled_run(client)
    for _ in range(ATTEMPTS):
        present = sound(client.get_run(home))
        own = next((one for one in present if one.run_id == run_id), None)
        if own is None and content["turn"] is not None:
            _check_turn(last_move(present, content["name"]), content["turn"])
        number = own.number if own else len(present) + 1
        entry = seal(content, number, present[number - 2].sha256 if number > 1 else START)
        if own is None or entry["sha256"] == own.sha256:
            client.set_tag(run_id, ENTRY_TAG, _readable(entry))
        if own or claim(client, home, entry):
            return
        time.sleep(random.uniform(0, 0.05))
    raise UserError("The ledger could not be written, since others write it at the same time. Run the command again.")


def restore(client: MlflowClient) -> None:
    """Give numbers to the entries of an earlier release, and write the file anew if a crash has cut it off.

    Raises:
        UserError: the ledger is broken.
    """
    ledger = load(client)
    if ledger.grave:
        raise UserError(f"{ledger.grave[0]} Nothing is decided on such a ledger. See: deepdigits audit")
    home = settled_run(client) if ledger.entries else ""
    for entry in ledger.entries[len(ledger.claims) :]:
        if not claim(client, home, entry):
            raise UserError("Others write the ledger at the same time. Run the command again.")
    if ledger.listed != ledger.entries:
        write_file(client)


def write_file(client: MlflowClient) -> None:
    """Write the file from what the store holds."""
    entries = load(client).entries
    with tempfile.TemporaryDirectory() as folder:
        write_text(Path(folder) / FILE, serialise(entries))
        client.log_artifact(settled_run(client), str(Path(folder) / FILE))


def unfinished(client: MlflowClient) -> list[Run]:
    """The decisions that are being carried out, or were cut off."""
    return decision_runs(client, "attributes.status = 'RUNNING' AND tags.`registry.action` LIKE '%'")


def _readable(entry: Entry) -> str:
    """The entry as text; nothing gets a number that could not be read again."""
    text = json.dumps(entry, sort_keys=True)
    try:
        read_entry(text)
    except ValueError as error:
        raise UserError(f"What run {entry['run_id']} decided makes no entry of the ledger: {error}") from None
    return text


def _check_turn(last: Claim | None, turn: int) -> None:
    if last and last.number != turn:
        raise Overtaken(
            f"In the meantime another decision made version {last.champion} the champion of {last.name} (entry "
            f"{last.number}). This one began before, so it was not carried out. Run the command again."
        )


def _copies(client: MlflowClient) -> tuple[dict[str, Entry], dict[str, Entry], list[str]]:
    """Each decision's own copy of its entry, by run; those of finished decisions; and what cannot be read."""
    copies, finished, faults = {}, {}, []
    for run in decision_runs(client, f"tags.`{ENTRY_TAG}` LIKE '%'"):
        try:
            copies[run.info.run_id] = read_entry(run.data.tags[ENTRY_TAG])
        except ValueError:
            faults.append(f"What run {run.info.run_id} has as its entry of the ledger is no entry.")
            continue
        if run.info.status == "FINISHED":
            finished[run.info.run_id] = copies[run.info.run_id]
    return copies, finished, faults


def _file(client: MlflowClient, run: Run) -> str:
    if FILE not in {item.path for item in client.list_artifacts(run.info.run_id) if not item.is_dir}:
        return ""
    with tempfile.TemporaryDirectory() as folder:
        return Path(client.download_artifacts(run.info.run_id, FILE, folder)).read_bytes().decode(errors="replace")
