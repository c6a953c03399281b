"""The chain alone: what was written is read again, and no change of the text goes unseen."""

import json

from hypothesis import given
from hypothesis import strategies as st

from deepdigits.promotion import ledger
from deepdigits.promotion.audit import chain_of_champions

words = st.dictionaries(st.sampled_from(["action", "name", "run_id", "why"]), st.text(max_size=8), max_size=4)


def chain(contents: list[dict[str, str]]) -> list[ledger.Entry]:
    entries: list[ledger.Entry] = []
    for content in contents:
        entries.append(ledger.seal(content, entries[-1] if entries else None))
    return entries


@given(st.lists(words, max_size=6))
def test_what_was_sealed_is_read_again_without_a_fault(contents: list[dict[str, str]]) -> None:
    entries = chain(contents)
    assert ledger.parse(ledger.serialise(entries)) == (entries, [])
    assert [entry["sequence"] for entry in entries] == list(range(1, len(entries) + 1))


@given(st.lists(words, min_size=2, max_size=6), st.data())
def test_an_entry_that_is_changed_dropped_or_moved_is_a_fault(
    contents: list[dict[str, str]], data: st.DataObject
) -> None:
    entries = chain(contents)
    index = data.draw(st.integers(0, len(entries) - 2))
    changed = [dict(entry) for entry in entries]
    changed[index]["why"] = changed[index].get("why", "") + "!"
    dropped = entries[:index] + entries[index + 1 :]
    moved = [*entries[:index], entries[index + 1], entries[index], *entries[index + 2 :]]
    for tampered in (changed, dropped, moved):
        assert ledger.parse(ledger.serialise(tampered))[1]


@given(st.lists(words, min_size=1, max_size=4), st.integers(1, 60))
def test_a_file_cut_off_keeps_its_whole_lines(contents: list[dict[str, str]], cut: int) -> None:
    entries = chain(contents)
    last = len(json.dumps(entries[-1], sort_keys=True))
    kept, faults = ledger.parse(ledger.serialise(entries)[: -1 - min(cut, last - 1)])
    assert kept == entries[:-1]
    assert faults == [f"Line {len(entries)} of the ledger is no entry."]


def test_a_champion_that_nobody_decided_on_is_named() -> None:
    steps = [(None, 1), (1, 2), (3, 4)]
    entries = [
        {"name": "a", "sequence": number, "champion_before": before, "champion": after}
        for number, (before, after) in enumerate(steps, 1)
    ]
    (fault,) = chain_of_champions(entries)
    assert fault.startswith("a: entry 3 found version 3 as champion, but the decision before had left version 2")
