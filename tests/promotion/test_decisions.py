"""Decisions on a real SQLite store: cut off, overtaken, too long, among strangers' models, or damaged by hand."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from typer.testing import CliRunner

from deepdigits.cli.app import commands
from deepdigits.core.errors import UserError
from deepdigits.ops.processes import process_identity
from deepdigits.promotion import lease, ledger, people
from deepdigits.promotion.audit import audit
from deepdigits.promotion.bounds import CARD_CUT, LIMIT, MARK
from deepdigits.promotion.entries import seal, serialise
from deepdigits.promotion.ledger import Overtaken
from deepdigits.promotion.recovery import abandon, begin
from deepdigits.promotion.registered import find, find_model
from deepdigits.promotion.transaction import INTENT_TAG, alias_version, perform
from tests.promotion.deciding import RECORD, cut_off, decide, intent, make_model

ELSEWHERE = "elsewhere:7:1:boot:namespace:machine"


def entries(client: MlflowClient) -> list[tuple[str, int, str]]:
    return [(entry["name"], entry["version"], entry["action"]) for entry in ledger.load(client).entries]


def faults(client: MlflowClient) -> list[str]:
    return audit(client)[1]


def ledger_file() -> Path:
    (path,) = Path("mlruns/artifacts").rglob(ledger.FILE)
    return path


def command(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(commands, arguments)
    return done.exit_code, " ".join(done.output.replace("│", " ").split())


def test_among_more_models_than_a_page_all_are_found_and_no_stranger_is_judged(client: MlflowClient) -> None:
    for number in range(130):
        client.create_registered_model(f"fraud-{number:03}")
    client.create_model_version("fraud-007", "file:///nowhere")
    client.set_registered_model_alias("fraud-007", "champion", "1")
    name = make_model(client, "zz-cnn")
    assert find_model(client, name).name == name
    assert find(client, f"{name}/2", "champion").version == 2
    decide(client, name, 1)
    assert faults(client) == []
    client.set_registered_model_alias(name, "champion", "2")
    assert faults(client) == [
        "zz-cnn: the alias 'champion' points to version 2, but the ledger says version 1: it was moved by hand."
    ]
    with pytest.raises(UserError, match=r"no model 'mnist-cnn'. It has: zz-cnn."):
        find_model(client, "mnist-cnn")


def test_of_two_decisions_from_the_same_champion_one_counts(client: MlflowClient) -> None:
    name = make_model(client, "mnist-cnn", versions=3)
    decide(client, name, 1)
    slow = intent(client, name, 2)
    decide(client, name, 3, "refused")  # moves nothing, so it overtakes nobody
    quick = intent(client, name, 3)
    perform(client, quick, RECORD, {})
    with pytest.raises(
        Overtaken, match="In the meantime, the champion of mnist-cnn was changed: it was 1 and is now 3"
    ):
        perform(client, slow, RECORD, {})
    assert (alias_version(client, name, "champion"), alias_version(client, name, "previous")) == (3, 1)
    assert entries(client) == [(name, 1, "promoted"), (name, 3, "refused"), (name, 3, "promoted")]
    assert faults(client) == []


def test_a_decision_cut_off_before_another_moved_the_champion_is_undone(client: MlflowClient) -> None:
    """Its alias stands as it found it, so only the ledger can tell."""
    name = make_model(client, "mnist-cnn", versions=3)
    decide(client, name, 1)
    run_id = cut_off(client, name, 2, **{lease.PROCESS_TAG: ELSEWHERE})
    perform(client, intent(client, name, 3), RECORD, {})
    perform(client, intent(client, name, 1), RECORD, {})
    client.set_tag(run_id, lease.PROCESS_TAG, process_identity())
    (one,) = begin(client, name)[1]
    assert one.said.startswith("Undone: mnist-cnn version 2 promoted, which was interrupted")
    assert "another decision made version 1 the champion of mnist-cnn (entry 3)" in one.said
    assert alias_version(client, name, "champion") == 1
    assert faults(client) == []


def test_a_decision_at_work_on_another_host_is_waited_for_and_taken_over_when_it_is_silent(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.1)
    name, other = make_model(client, "mnist-cnn"), make_model(client, "mnist-rnn")
    run_id = cut_off(client, name, 1, **{lease.PROCESS_TAG: ELSEWHERE})
    silent = threading.Event()

    def live() -> None:
        while not silent.wait(0.1):
            client.set_tag(run_id, lease.HEARTBEAT_TAG, datetime.now(UTC).isoformat())

    there = threading.Thread(target=live)
    there.start()
    try:
        with pytest.raises(
            UserError, match=r"Process 7 on elsewhere is still working on a decision \(mnist-cnn version 1 promoted\)"
        ):
            begin(client, name)
        decide(client, other, 1)  # what concerns another model is not waited for
        assert entries(client) == [(other, 1, "promoted")]
    finally:
        silent.set()
        there.join()
    assert [one.said for one in begin(client, name)[1]] == [
        "Completed: mnist-cnn version 1 promoted, which was interrupted."
    ]
    assert alias_version(client, name, "champion") == 1
    assert faults(client) == []


def test_a_decision_that_ends_while_it_is_waited_for_is_left_as_it_is(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.1)
    name = make_model(client, "mnist-cnn")
    run_id = cut_off(client, name, 1, **{lease.PROCESS_TAG: ELSEWHERE})
    threading.Timer(0.5, lambda: client.set_terminated(run_id, "KILLED")).start()
    assert begin(client, name) == (0, [])


@pytest.fixture
def other_process() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.communicate(b"\n")


def test_a_pid_that_is_used_again_blocks_nothing(client: MlflowClient, other_process: subprocess.Popen[bytes]) -> None:
    name = make_model(client, "mnist-cnn")
    host, _, start, *place = process_identity().split(":")
    again = ":".join([host, str(other_process.pid), f"{start}0", *place])
    cut_off(client, name, 1, **{lease.PROCESS_TAG: again})
    assert [one.intent.version for one in begin(client, name)[1] if one.intent] == [1]
    # As earlier releases wrote it, by a decision that is older than the process.
    run_id = cut_off(client, name, 2, **{lease.PROCESS_TAG: f"{socket.gethostname()}:{other_process.pid}"})
    begun = datetime(2020, 1, 1, tzinfo=UTC).timestamp() * 1000
    with sqlite3.connect("mlruns/mlflow.db") as database:
        database.execute("UPDATE runs SET start_time = ? WHERE run_uuid = ?", (int(begun), run_id))
    assert [one.intent.version for one in begin(client, name)[1] if one.intent] == [2]


def test_a_recovery_that_fails_blocks_no_other_model_and_names_the_way_out(client: MlflowClient) -> None:
    name, other = make_model(client, "mnist-cnn"), make_model(client, "mnist-rnn")
    gone = cut_off(client, other, 2)
    damaged = cut_off(client, other, 1, **{INTENT_TAG: "no JSON"})
    client.delete_model_version(other, "2")
    decide(client, name, 1)
    said = [one.said for one in begin(client, name)[1]]
    assert [f"deepdigits abandon {run}" in one for run, one in zip([gone, damaged], said, strict=True)] == [True, True]
    assert "Not completed: mnist-rnn version 2 promoted, which was interrupted" in said[0]
    assert f"The tag {INTENT_TAG} of run {damaged} is malformed" in said[1]
    assert [entry for entry in entries(client) if entry[0] == name] == [(name, 1, "promoted")]
    with pytest.raises(UserError, match=f"deepdigits abandon {gone}"):
        begin(client, other)
    assert "stays there" in command("abandon", gone)[1]
    assert "It had changed nothing" in abandon(client, damaged)
    code, said_of_it = command("abandon", gone)
    assert (code, f"No unfinished decision has the run '{gone}'" in said_of_it) == (2, True)
    decide(client, other, 1)
    assert alias_version(client, other, "champion") == 1


@pytest.mark.parametrize("card", ["# A card\n" * 100, "# A card\n" * 1000], ids=["short card", "long card"])
def test_descriptions_and_tags_stay_within_what_postgresql_takes(client: MlflowClient, card: str) -> None:
    name = make_model(client, "mnist-cnn", versions=1, card=card)
    reasons = ["a reason with ümlauts, " * 100] * 40
    for _ in range(4):
        decide(client, name, 1, "refused", reasons=reasons)
    begin(client, name)
    perform(client, intent(client, name, 1), RECORD * 2000, {})
    text = client.get_model_version(name, "1").description
    assert len(text) <= LIMIT
    assert "(ledger entry 5): Better." in text
    assert text.startswith(f"## Decisions\n\n- earlier decisions: deepdigits history {name}\n")
    assert text.partition(MARK)[2] == card if len(card) < 1000 else text.endswith(CARD_CUT)
    for entry in ledger.load(client).entries:
        tags = client.get_run(entry["run_id"]).data.tags
        assert max(len(value) for value in tags.values()) <= LIMIT
    assert "more reasons are in the decision's record" in ledger.load(client).entries[0]["reasons"][-1]
    assert faults(client) == []


def make_as_before(client: MlflowClient, name: str) -> None:
    """The ledger as earlier releases kept it: a file and the decisions' own copies, no numbers."""
    decide(client, name, 1)
    decide(client, name, 2)
    decide(client, name, 1, "refused")
    with sqlite3.connect("mlruns/mlflow.db") as database:
        database.execute("DELETE FROM params")
        settled = "SELECT experiment_id FROM experiments WHERE name = 'registry ledger'"
        database.execute(f"DELETE FROM experiment_tags WHERE experiment_id IN ({settled})")
        database.execute("DELETE FROM experiments WHERE name = 'registry ledger'")


def test_a_ledger_of_an_earlier_release_is_read_and_goes_on(client: MlflowClient) -> None:
    name = make_model(client, "mnist-cnn")
    make_as_before(client, name)
    assert (ledger.load(client).claims, audit(client)) == ([], (3, []))
    whole = ledger_file().read_bytes()
    ledger_file().write_bytes(whole[:-40])
    decide(client, name, 1)
    assert ledger_file().read_bytes().startswith(whole)
    assert [claim.number for claim in ledger.load(client).claims] == [1, 2, 3, 4]
    assert (len(entries(client)), faults(client)) == (4, [])


def test_an_entry_is_known_as_long_as_the_file_or_its_decision_has_it(client: MlflowClient) -> None:
    name = make_model(client, "mnist-cnn")
    decide(client, name, 1)
    decide(client, name, 2)
    first, second = ledger.load(client).entries
    client.set_tag(first["run_id"], ledger.ENTRY_TAG, "lost")
    assert [*ledger.load(client).entries] == [first, second]
    assert any("Entry 1 of the ledger does not match the copy" in fault for fault in faults(client))
    client.set_tag(first["run_id"], ledger.ENTRY_TAG, json.dumps(first))

    edited = serialise([{**first, "by": "nobody"}, second])
    ledger_file().write_text(edited)
    with pytest.raises(UserError, match="Entry 1 of the ledger was edited"):
        begin(client, name)
    code, said = command("audit")
    assert (code, "Entry 1 of the ledger was edited" in said) == (3, True)
    assert command("audit", "--rewrite") == (0, "2 entries, and everything agrees.")

    # Both at once, sealed anew: the number belongs to the entry that it was given to.
    forged = seal({**{k: v for k, v in first.items() if k != "sha256"}, "by": "nobody"}, 1, first["before"])
    ledger_file().write_text(serialise([forged, seal(second, 2, forged["sha256"])]))
    client.set_tag(first["run_id"], ledger.ENTRY_TAG, json.dumps(forged))
    assert any("Entry 1 of the ledger was edited or lost" in fault for fault in faults(client))


HOSTILE = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
    st.sampled_from(["[" * 7000, '{"a":' * 1000, "{}", "[]", "null", '{"sequence": []}', "\x1b[31m", "[/red]"]),
)


def test_whatever_stands_in_the_ledger_is_named_and_raises_no_error(client: MlflowClient) -> None:
    name = make_model(client, "mnist-cnn")
    decide(client, name, 1)
    (entry,) = ledger.load(client).entries
    unfinished = cut_off(client, name, 2)
    whole = ledger_file().read_bytes()
    tags = [ledger.ENTRY_TAG, INTENT_TAG, lease.PROCESS_TAG, lease.HEARTBEAT_TAG, "registry.version", "registry.by"]

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=60) | HOSTILE.map(str.encode), st.sampled_from(tags), HOSTILE, st.integers(0, 400))
    def anything(data: bytes, tag: str, value: str, at: int) -> None:
        ledger_file().write_bytes(whole[:at] + data + whole[at:])
        client.set_tag(unfinished, tag, value)
        client.set_tag(entry["run_id"], tag, value)
        assert faults(client)
        assert command("history", name)[0] == 0
        assert command("audit")[0] == 3

    anything()


def test_who_decides_is_a_claim_beside_the_account(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "the director")
    name = make_model(client, "mnist-cnn")
    decide(client, name, 1, reasons=["[/red] is no markup here"])
    code, said = command("history", name)
    assert code == 0
    assert f"claimed by the director@{socket.gethostname()} (uid {os.getuid()} (" in said
    assert "[/red] is no markup here" in said
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)  # as in a container
    assert (people.claimed_user(), people.account()) == ("uid 4000000000", "uid 4000000000")
