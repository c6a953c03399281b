"""One entry of the ledger, sealed by its hash over the one before; and the only place where entries are read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from deepdigits.core.files import sha256

START = "0" * 64  # what the first entry names as the hash of the one before

Entry = dict[str, Any]
Number = Annotated[int, Field(ge=1, lt=2**31)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
RunId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,255}$")]


class Shape(BaseModel):
    """What every entry has, and of which type; later releases may add to it."""

    model_config = ConfigDict(strict=True, extra="allow")

    sequence: Number
    before: Sha256
    sha256: Sha256
    run_id: RunId
    time: str
    by: str
    record_sha256: str
    action: str
    name: Annotated[str, Field(min_length=1, max_length=256)]
    version: Number
    champion_before: Number | None
    champion: Number | None
    previous: Number | None
    reasons: list[str]
    facts: dict[str, Any]
    account: str = ""
    turn: int | None = None


def seal(content: Mapping[str, Any], number: int, before: str) -> Entry:
    """`content` as entry `number` of the ledger, after the entry with the hash `before`."""
    entry = {**content, "sequence": number, "before": before}
    return {**entry, "sha256": digest(entry)}


def digest(entry: Mapping[str, Any]) -> str:
    """SHA-256 over the entry without its own hash, as JSON with sorted keys."""
    content = {key: value for key, value in entry.items() if key != "sha256"}
    return sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())


def read_entry(text: str) -> Entry:
    """One line of the ledger, or one decision's own copy.

    Raises:
        ValueError: it is no entry, whatever else it may be.
    """
    entry = Shape.model_validate_json(text).model_dump(exclude_unset=True)
    digest(entry)  # numbers may be longer than Python writes
    return entry


def parse(text: str) -> tuple[list[Entry], list[str]]:
    """The entries of a ledger file, and what is wrong with the chain, one sentence each. A last line that was cut off
    is left out."""
    entries: list[Entry] = []
    faults: list[str] = []
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], 1):
        try:
            entries.append(read_entry(line))
        except ValueError:
            faults.append(f"Line {number} of the ledger is no entry.")
            continue
        faults += _faults_of(entries)
    return entries, faults


def _faults_of(entries: Sequence[Entry]) -> list[str]:
    """Of the last of them, as one that follows the others."""
    entry, last = entries[-1], entries[-2] if len(entries) > 1 else None
    what = f"Entry {entry['sequence']} of the ledger"
    faults = []
    if digest(entry) != entry["sha256"]:
        faults.append(f"{what} was edited: its hash is another.")
    if entry["before"] != (last["sha256"] if last else START):
        faults.append(f"{what} does not follow the one before it.")
    elif entry["sequence"] != (last["sequence"] if last else 0) + 1:
        faults.append(f"{what} has a number that does not follow the one before it.")
    return faults


def serialise(entries: Iterable[Entry]) -> str:
    return "".join(json.dumps(entry, sort_keys=True) + "\n" for entry in entries)


def follow(entries: Iterable[Entry], number: int, before: str) -> list[Entry]:
    """Those of `entries` that come after entry `number`, whose hash is `before`, in the order of the chain. Of two that
    follow the same one, the first given."""
    known: dict[str, Entry] = {}
    for entry in entries:
        if digest(entry) == entry["sha256"]:
            known.setdefault(entry["before"], entry)
    chain: list[Entry] = []
    while before in known and known[before]["sequence"] == number + len(chain) + 1:
        chain.append(known[before])
        before = chain[-1]["sha256"]
    return chain
