"""The append-only list of all decisions in a store. The store itself decides their order.

Each entry has a number that the store assigned to it alone (`deepdigits.promotion.claims`). The entry itself is stored
as a tag on the run of its decision, and for people in `promotions.jsonl`, an artifact of the run `ledger`. Either copy
can be rebuilt from the other.
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
ATTEMPTS = 200  # each failed attempt means that somebody else added an entry


class Overtaken(UserError):
    """Another decision, or a person by hand, has moved the champion since this decision began."""


@dataclass(frozen=True)
class Ledger:
    """What a store says about its decisions.

    Attributes:
        claims: the claimed numbers, in order.
        entries: the entries, in order.
        listed: the entries in the file.
        copies: the decisions' own copies, by run.
        finished: the copies of finished decisions, by run.
        grave: faults, as sentences, that rule out any further decision.
        faults: all other faults, as sentences.
    """

    claims: Sequence[Claim]
    entries: Sequence[Entry]
    listed: Sequence[Entry]
    copies: Mapping[str, Entry]
    finished: Mapping[str, Entry]
    grave: Sequence[str]
    faults: Sequence[str]


def load(client: MlflowClient) -> Ledger:
    """Read the whole ledger. An entry damaged by hand or by a crash is reported as a fault, not raised as an error.

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
        f"Entry {own.number} of the ledger was edited or lost: neither run {own.run_id} nor the file has the entry "
        f"that the number was assigned to (SHA-256 {own.sha256[:12]}...)."
        for own in numbers
        if own.sha256 not in whole
    ]
    # Earlier releases assigned no numbers. Their entries come from the file and, if it was truncated, from the copies.
    entries += follow([*listed, *finished.values()], len(numbers), numbers[-1].sha256 if numbers else START)
    decided = {entry["sha256"] for entry in entries}
    for entry in listed:
        if digest(entry) != entry["sha256"]:
            grave.append(f"Entry {entry['sequence']} of the ledger was edited: its hash does not match.")
        elif entry["sha256"] not in decided:
            grave.append(f"Entry {entry['sequence']} of the ledger's file is not the one that was decided.")
    faults = [fault for fault in faults if fault not in grave]
    return Ledger(numbers, entries, listed, copies, finished, grave, [*faults, *damaged])


def about(client: MlflowClient, name: str, version: int | None = None) -> list[Entry]:
    """The entries of one model, or of one version of it, oldest first."""
    return [entry for entry in load(client).entries if entry["name"] == name and version in (None, entry["version"])]


def claims(client: MlflowClient) -> list[Claim]:
    """All claimed numbers.

    Raises:
        UserError: they cannot be read.
    """
    return sound(ledger_run(client))


def append(client: MlflowClient, run_id: str, content: Mapping[str, Any]) -> None:
    """Add the entry of the decision in run `run_id`, unless the ledger already has it.

    `content["turn"]` is the number of the entry that had last moved the champion when the decision began: 0 if none
    had, None if an earlier release made the decision.

    Raises:
        Overtaken: the champion has been moved since then.
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
            client.set_tag(run_id, ENTRY_TAG, _to_text(entry))
        if own or claim(client, home, entry):
            return
        time.sleep(random.uniform(0, 0.05))
    raise UserError("The ledger could not be written because others are writing to it. Run the command again.")


def restore(client: MlflowClient) -> None:
    """Assign numbers to the entries of an earlier release, and rewrite the file if a crash truncated it.

    Raises:
        UserError: the ledger is broken.
    """
    ledger = load(client)
    if ledger.grave:
        raise UserError(f"{ledger.grave[0]} No decision is made on a broken ledger. See: deepdigits audit")
    home = settled_run(client) if ledger.entries else ""
    for entry in ledger.entries[len(ledger.claims) :]:
        if not claim(client, home, entry):
            raise UserError("Others are writing to the ledger at the same time. Run the command again.")
    if ledger.listed != ledger.entries:
        write_file(client)


def write_file(client: MlflowClient) -> None:
    """Rewrite the file from the entries in the store."""
    entries = load(client).entries
    with tempfile.TemporaryDirectory() as folder:
        write_text(Path(folder) / FILE, serialise(entries))
        client.log_artifact(settled_run(client), str(Path(folder) / FILE))


def unfinished(client: MlflowClient) -> list[Run]:
    """The decisions that are in progress or were interrupted."""
    return decision_runs(client, "attributes.status = 'RUNNING' AND tags.`registry.action` LIKE '%'")


def _to_text(entry: Entry) -> str:
    """The entry as text, checked to be readable again before it gets a number."""
    text = json.dumps(entry, sort_keys=True)
    try:
        read_entry(text)
    except ValueError as error:
        raise UserError(f"The decision of run {entry['run_id']} is not a valid entry of the ledger: {error}") from None
    return text


def _check_turn(last: Claim | None, turn: int) -> None:
    if last and last.number != turn:
        raise Overtaken(
            f"In the meantime, another decision made version {last.champion} the champion of {last.name} (entry "
            f"{last.number}). This one began earlier, so it was not carried out. Run the command again."
        )


def _copies(client: MlflowClient) -> tuple[dict[str, Entry], dict[str, Entry], list[str]]:
    """The decisions' own copies of their entries, by run; those of finished decisions; and what cannot be read."""
    copies, finished, faults = {}, {}, []
    for run in decision_runs(client, f"tags.`{ENTRY_TAG}` LIKE '%'"):
        try:
            copies[run.info.run_id] = read_entry(run.data.tags[ENTRY_TAG])
        except ValueError:
            faults.append(f"The copy in run {run.info.run_id} is not a valid entry of the ledger.")
            continue
        if run.info.status == "FINISHED":
            finished[run.info.run_id] = copies[run.info.run_id]
    return copies, finished, faults


def _file(client: MlflowClient, run: Run) -> str:
    if FILE not in {item.path for item in client.list_artifacts(run.info.run_id) if not item.is_dir}:
        return ""
    with tempfile.TemporaryDirectory() as folder:
        return Path(client.download_artifacts(run.info.run_id, FILE, folder)).read_bytes().decode(errors="replace")
