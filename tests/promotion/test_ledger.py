"""The chain on its own: what was written can be read back, and no change to the text goes unnoticed."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepdigits.promotion import entries as chains
from deepdigits.promotion.audit import chain_of_champions
from deepdigits.promotion.entries import Entry, parse, serialise

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
versions = st.none() | st.integers(1, 9)
contents = st.fixed_dictionaries(
    {
        "action": texts,
        "name": texts.filter(bool),
        "version": st.integers(1, 9),
        "champion_before": versions,
        "champion": versions,
        "previous": versions,
        "reasons": st.lists(texts, max_size=2),
        "facts": st.dictionaries(texts, texts | st.none(), max_size=2),
        "time": texts,
        "by": texts,
        "record_sha256": texts,
        "run_id": st.text("0123456789abcdef", min_size=32, max_size=32),
    },
    optional={"account": texts, "turn": st.none() | st.integers(0, 9), "of a later release": texts},
)
CONTENT = {
    "action": "promoted",
    "name": "mnist-cnn",
    "version": 2,
    "champion_before": 1,
    "champion": 2,
    "previous": 1,
    "reasons": ["Better."],
    "facts": {},
    "time": "2026-01-01T00:00:00+00:00",
    "by": "alice@here",
    "record_sha256": "a" * 64,
    "run_id": "f" * 32,
}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def chain(entry_contents: list[dict[str, Any]]) -> list[Entry]:
    sealed: list[Entry] = []
    for number, content in enumerate(entry_contents, 1):
        sealed.append(chains.seal(content, number, sealed[-1]["sha256"] if sealed else chains.START))
    return sealed


@given(st.lists(contents, max_size=6))
def test_sealed_entries_are_read_back_without_faults(entry_contents: list[dict[str, Any]]) -> None:
    entries = chain(entry_contents)
    assert parse(serialise(entries)) == (entries, [])
    assert [entry["sequence"] for entry in entries] == list(range(1, len(entries) + 1))


@given(st.lists(contents, min_size=2, max_size=6), st.data())
def test_a_changed_dropped_or_moved_entry_is_a_fault(entry_contents: list[dict[str, Any]], data: st.DataObject) -> None:
    entries = chain(entry_contents)
    index = data.draw(st.integers(0, len(entries) - 2))
    changed = [dict(entry) for entry in entries]
    changed[index]["by"] += "!"
    dropped = entries[:index] + entries[index + 1 :]
    moved = [*entries[:index], entries[index + 1], entries[index], *entries[index + 2 :]]
    for tampered in (changed, dropped, moved):
        assert parse(serialise(tampered))[1]


@given(st.lists(contents, min_size=1, max_size=4), st.integers(1, 60))
def test_a_truncated_file_keeps_its_complete_lines(entry_contents: list[dict[str, Any]], cut: int) -> None:
    entries = chain(entry_contents)
    last = len(json.dumps(entries[-1], sort_keys=True))
    kept, faults = parse(serialise(entries)[: -1 - min(cut, last - 1)])
    assert kept == entries[:-1]
    assert faults == [f"Line {len(entries)} of the ledger is not a valid entry."]


@given(st.binary())
def test_arbitrary_bytes_give_faults_but_no_error(data: bytes) -> None:
    entries, faults = parse(data.decode(errors="replace"))
    assert entries == []
    assert len(faults) == (data.decode(errors="replace").removesuffix("\n").count("\n") + 1 if data else 0)


@given(contents, st.data())
def test_an_entry_with_an_arbitrary_field_value_is_read_or_reported(
    content: dict[str, Any], data: st.DataObject
) -> None:
    (entry,) = chain([content])
    entry[data.draw(st.sampled_from(sorted(entry)))] = data.draw(json_values)
    entries, faults = parse(json.dumps(entry))
    assert len(entries) == 1 or faults == ["Line 1 of the ledger is not a valid entry."]


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "[]",
        "null",
        "1",
        '"a"',
        "[" * 100_000,
        '{"a":' * 100_000,
        "\ud800",
        json.dumps(CONTENT),
        json.dumps(CONTENT | {"sequence": "1", "before": "0" * 64, "sha256": "0" * 64}),
        json.dumps(CONTENT | {"sequence": 1, "before": "0" * 64, "sha256": "0" * 64})[:-1]
        + ', "a": '
        + "9" * 5000
        + "}",
    ],
    ids=[
        "empty object",
        "list",
        "null",
        "number",
        "string",
        "deep list",
        "deep object",
        "surrogate",
        "unsealed",
        "wrong type",
        "huge integer",
    ],
)
def test_a_line_that_is_not_an_entry_is_reported(line: str) -> None:
    (valid,) = chain([CONTENT])
    assert parse(f"{serialise([valid])}{line}\n") == ([valid], ["Line 2 of the ledger is not a valid entry."])


def test_a_champion_without_a_decision_is_reported() -> None:
    steps = [(None, 1), (1, 2), (3, 4)]
    entries = [
        {"name": "a", "sequence": number, "champion_before": before, "champion": after}
        for number, (before, after) in enumerate(steps, 1)
    ]
    (fault,) = chain_of_champions(entries)
    assert fault.startswith("a: entry 3 found version 3 as champion, but the previous decision had left version 2")
