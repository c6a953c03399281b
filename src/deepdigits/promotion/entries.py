"""Entries of the ledger, each sealed by a hash that covers the previous entry's hash. Entries are parsed only here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from deepdigits.core.files import sha256

START = "0" * 64  # stands in for the previous entry's hash in the first entry

Entry = dict[str, Any]
Number = Annotated[int, Field(ge=1, lt=2**31)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
RunId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,255}$")]


class Shape(BaseModel):
    """The fields and types that every entry has. Later releases may add fields."""

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
    """Make `content` entry `number` of the ledger. `before` is the hash of the previous entry."""
    entry = {**content, "sequence": number, "before": before}
    return {**entry, "sha256": digest(entry)}


def digest(entry: Mapping[str, Any]) -> str:
    """The SHA-256 of the entry without its own hash, as JSON with sorted keys."""
    content = {key: value for key, value in entry.items() if key != "sha256"}
    return sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())


def read_entry(text: str) -> Entry:
    """Parse one line of the ledger's file, or a decision's own copy of its entry.

    Raises:
        ValueError: the text is not a valid entry.
    """
    entry = Shape.model_validate_json(text).model_dump(exclude_unset=True)
    digest(entry)  # raises ValueError for an integer with more digits than Python converts to text
    return entry


def parse(text: str) -> tuple[list[Entry], list[str]]:
    """The entries of a ledger file, and each fault in the chain as one sentence. A line that cannot be parsed, such as
    a truncated last one, is left out of the entries."""
    entries: list[Entry] = []
    faults: list[str] = []
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], 1):
        try:
            entries.append(read_entry(line))
        except ValueError:
            faults.append(f"Line {number} of the ledger is not a valid entry.")
            continue
        faults += _faults_of(entries)
    return entries, faults


def _faults_of(entries: Sequence[Entry]) -> list[str]:
    """What is wrong with the last entry, on its own and as the successor of the one before it."""
    entry, last = entries[-1], entries[-2] if len(entries) > 1 else None
    what = f"Entry {entry['sequence']} of the ledger"
    faults = []
    if digest(entry) != entry["sha256"]:
        faults.append(f"{what} was edited: its hash does not match.")
    if entry["before"] != (last["sha256"] if last else START):
        faults.append(f"{what} does not follow the previous one.")
    elif entry["sequence"] != (last["sequence"] if last else 0) + 1:
        faults.append(f"{what} has a number that does not follow the previous one.")
    return faults


def serialise(entries: Iterable[Entry]) -> str:
    return "".join(json.dumps(entry, sort_keys=True) + "\n" for entry in entries)


def follow(entries: Iterable[Entry], number: int, before: str) -> list[Entry]:
    """The `entries` that come after entry `number`, whose hash is `before`, in the order of the chain. If two follow
    the same entry, the one given first counts."""
    known: dict[str, Entry] = {}
    for entry in entries:
        if digest(entry) == entry["sha256"]:
            known.setdefault(entry["before"], entry)
    chain: list[Entry] = []
    while before in known and known[before]["sequence"] == number + len(chain) + 1:
        chain.append(known[before])
        before = chain[-1]["sha256"]
    return chain
