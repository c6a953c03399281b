"""Decisions on a real SQLite store: interrupted, overtaken, too long, among foreign models, or damaged by hand."""

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
from deepdigits.ops import people
from deepdigits.ops.processes import process_identity
from deepdigits.promotion import lease, ledger
from deepdigits.promotion.audit import audit
from deepdigits.promotion.bounds import CARD_CUT, LIMIT, MARK
from deepdigits.promotion.entries import seal, serialise
from deepdigits.promotion.ledger import Overtaken
from deepdigits.promotion.recovery import abandon, begin
from deepdigits.promotion.registered import find, find_model
from deepdigits.promotion.transaction import INTENT_TAG, alias_version, perform
from tests.promotion.deciding import RECORD, decide, intent, interrupted_decision, make_model

ELSEWHERE = "elsewhere:7:1:boot:namespace:machine"


def entries(client: MlflowClient) -> list[tuple[str, int, str]]:
    return [(entry["name"], entry["version"], entry["action"]) for entry in ledger.load(client).entries]


def faults(client: MlflowClient) -> list[str]:
    return audit(client)[1]


def ledger_file() -> Path:
    (path,) = Path("mlruns/artifacts").rglob(ledger.FILE)
    return path


def command(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(commands, arguments)
    return result.exit_code, " ".join(result.output.replace("│", " ").split())


def test_models_beyond_the_first_page_are_found_and_foreign_models_are_not_audited(client: MlflowClient) -> None:
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


def test_only_one_of_two_decisions_from_the_same_champion_takes_effect(client: MlflowClient) -> None:
    name = make_model(client, "mnist-cnn", versions=3)
    decide(client, name, 1)
    slow = intent(client, name, 2)
    decide(client, name, 3, "refused")  # moves no alias, so it overtakes nobody
    quick = intent(client, name, 3)
    perform(client, quick, RECORD, {})
    with pytest.raises(
        Overtaken, match="In the meantime, the champion of mnist-cnn was changed: it was 1 and is now 3"
    ):
        perform(client, slow, RECORD, {})
    assert (alias_version(client, name, "champion"), alias_version(client, name, "previous")) == (3, 1)
    assert entries(client) == [(name, 1, "promoted"), (name, 3, "refused"), (name, 3, "promoted")]
    assert faults(client) == []


def test_a_decision_interrupted_before_another_moved_the_champion_is_undone(client: MlflowClient) -> None:
    """The alias is back where the decision found it, so only the ledger can tell."""
    name = make_model(client, "mnist-cnn", versions=3)
    decide(client, name, 1)
    run_id = interrupted_decision(client, name, 2, **{lease.PROCESS_TAG: ELSEWHERE})
    perform(client, intent(client, name, 3), RECORD, {})
    perform(client, intent(client, name, 1), RECORD, {})
    client.set_tag(run_id, lease.PROCESS_TAG, process_identity())
    (recovered,) = begin(client, name)[1]
    assert recovered.said.startswith("Undone: mnist-cnn version 2 promoted, which was interrupted")
    assert "another decision made version 1 the champion of mnist-cnn (entry 3)" in recovered.said
    assert alias_version(client, name, "champion") == 1
    assert faults(client) == []


def test_a_decision_running_on_another_host_is_awaited_and_taken_over_once_it_goes_silent(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.1)
    name, other = make_model(client, "mnist-cnn"), make_model(client, "mnist-rnn")
    run_id = interrupted_decision(client, name, 1, **{lease.PROCESS_TAG: ELSEWHERE})
    silent = threading.Event()

    def send_heartbeats() -> None:
        while not silent.wait(0.1):
            client.set_tag(run_id, lease.HEARTBEAT_TAG, datetime.now(UTC).isoformat())

    other_host = threading.Thread(target=send_heartbeats)
    other_host.start()
    try:
        with pytest.raises(
            UserError, match=r"Process 7 on elsewhere is still working on a decision \(mnist-cnn version 1 promoted\)"
        ):
            begin(client, name)
        decide(client, other, 1)  # decisions about other models are not awaited
        assert entries(client) == [(other, 1, "promoted")]
    finally:
        silent.set()
        other_host.join()
    assert [recovered.said for recovered in begin(client, name)[1]] == [
        "Completed: mnist-cnn version 1 promoted, which was interrupted."
    ]
    assert alias_version(client, name, "champion") == 1
    assert faults(client) == []


def test_a_decision_that_ends_while_awaited_is_not_recovered(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.1)
    name = make_model(client, "mnist-cnn")
    run_id = interrupted_decision(client, name, 1, **{lease.PROCESS_TAG: ELSEWHERE})
    threading.Timer(0.5, lambda: client.set_terminated(run_id, "KILLED")).start()
    assert begin(client, name) == (0, [])


@pytest.fixture
def other_process() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.communicate(b"\n")


def test_a_reused_pid_blocks_nothing(client: MlflowClient, other_process: subprocess.Popen[bytes]) -> None:
    name = make_model(client, "mnist-cnn")
    host, _, start, *rest = process_identity().split(":")
    reused = ":".join([host, str(other_process.pid), f"{start}0", *rest])
    interrupted_decision(client, name, 1, **{lease.PROCESS_TAG: reused})
    assert [recovered.intent.version for recovered in begin(client, name)[1] if recovered.intent] == [1]
    # In the format of earlier releases, from a decision that is older than the process.
    run_id = interrupted_decision(client, name, 2, **{lease.PROCESS_TAG: f"{socket.gethostname()}:{other_process.pid}"})
    started = datetime(2020, 1, 1, tzinfo=UTC).timestamp() * 1000
    with sqlite3.connect("mlruns/mlflow.db") as database:
        database.execute("UPDATE runs SET start_time = ? WHERE run_uuid = ?", (int(started), run_id))
    assert [recovered.intent.version for recovered in begin(client, name)[1] if recovered.intent] == [2]


def test_a_failed_recovery_blocks_no_other_model_and_names_the_way_out(client: MlflowClient) -> None:
    name, other = make_model(client, "mnist-cnn"), make_model(client, "mnist-rnn")
    unrecoverable = interrupted_decision(client, other, 2)
    damaged = interrupted_decision(client, other, 1, **{INTENT_TAG: "no JSON"})
    client.delete_model_version(other, "2")
    decide(client, name, 1)
    messages = [recovered.said for recovered in begin(client, name)[1]]
    runs = [unrecoverable, damaged]
    assert [f"deepdigits abandon {run}" in message for run, message in zip(runs, messages, strict=True)] == [True, True]
    assert "Not completed: mnist-rnn version 2 promoted, which was interrupted" in messages[0]
    assert f"The tag {INTENT_TAG} of run {damaged} is malformed" in messages[1]
    assert [entry for entry in entries(client) if entry[0] == name] == [(name, 1, "promoted")]
    with pytest.raises(UserError, match=f"deepdigits abandon {unrecoverable}"):
        begin(client, other)
    assert "stays there" in command("abandon", unrecoverable)[1]
    assert "It had changed nothing" in abandon(client, damaged)
    code, output = command("abandon", unrecoverable)
    assert (code, f"No unfinished decision has the run '{unrecoverable}'" in output) == (2, True)
    decide(client, other, 1)
    assert alias_version(client, other, "champion") == 1


@pytest.mark.parametrize("card", ["# A card\n" * 100, "# A card\n" * 1000], ids=["short card", "long card"])
def test_descriptions_and_tags_stay_within_the_postgresql_limit(client: MlflowClient, card: str) -> None:
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


def make_legacy_ledger(client: MlflowClient, name: str) -> None:
    """A ledger as earlier releases kept it: the file and each decision's own copy, but no claimed numbers."""
    decide(client, name, 1)
    decide(client, name, 2)
    decide(client, name, 1, "refused")
    with sqlite3.connect("mlruns/mlflow.db") as database:
        database.execute("DELETE FROM params")
        experiment = "SELECT experiment_id FROM experiments WHERE name = 'registry ledger'"
        database.execute(f"DELETE FROM experiment_tags WHERE experiment_id IN ({experiment})")
        database.execute("DELETE FROM experiments WHERE name = 'registry ledger'")


def test_a_ledger_from_an_earlier_release_is_read_and_extended(client: MlflowClient) -> None:
    name = make_model(client, "mnist-cnn")
    make_legacy_ledger(client, name)
    assert (ledger.load(client).claims, audit(client)) == ([], (3, []))
    complete = ledger_file().read_bytes()
    ledger_file().write_bytes(complete[:-40])
    decide(client, name, 1)
    assert ledger_file().read_bytes().startswith(complete)
    assert [claim.number for claim in ledger.load(client).claims] == [1, 2, 3, 4]
    assert (len(entries(client)), faults(client)) == (4, [])


def test_an_entry_survives_as_long_as_the_file_or_its_decision_holds_it(client: MlflowClient) -> None:
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
    code, output = command("audit")
    assert (code, "Entry 1 of the ledger was edited" in output) == (3, True)
    assert command("audit", "--rewrite") == (0, "2 entries, and everything agrees.")

    # Forge and reseal both at once: the number still belongs to the entry that claimed it.
    forged = seal({**{k: v for k, v in first.items() if k != "sha256"}, "by": "nobody"}, 1, first["before"])
    ledger_file().write_text(serialise([forged, seal(second, 2, forged["sha256"])]))
    client.set_tag(first["run_id"], ledger.ENTRY_TAG, json.dumps(forged))
    assert any("Entry 1 of the ledger was edited or lost" in fault for fault in faults(client))


HOSTILE = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
    st.sampled_from(["[" * 7000, '{"a":' * 1000, "{}", "[]", "null", '{"sequence": []}', "\x1b[31m", "[/red]"]),
)


def test_arbitrary_ledger_content_is_reported_without_an_error(client: MlflowClient) -> None:
    name = make_model(client, "mnist-cnn")
    decide(client, name, 1)
    (entry,) = ledger.load(client).entries
    unfinished = interrupted_decision(client, name, 2)
    original = ledger_file().read_bytes()
    tags = [ledger.ENTRY_TAG, INTENT_TAG, lease.PROCESS_TAG, lease.HEARTBEAT_TAG, "registry.version", "registry.by"]

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=60) | HOSTILE.map(str.encode), st.sampled_from(tags), HOSTILE, st.integers(0, 400))
    def check(data: bytes, tag: str, value: str, at: int) -> None:
        ledger_file().write_bytes(original[:at] + data + original[at:])
        client.set_tag(unfinished, tag, value)
        client.set_tag(entry["run_id"], tag, value)
        assert faults(client)
        assert command("history", name)[0] == 0
        assert command("audit")[0] == 3

    check()


def test_history_shows_the_claimed_user_beside_the_account(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "the director")
    name = make_model(client, "mnist-cnn")
    decide(client, name, 1, reasons=["[/red] is no markup here"])
    code, output = command("history", name)
    assert code == 0
    assert f"claimed by the director@{socket.gethostname()} (uid {os.getuid()} (" in output
    assert "[/red] is no markup here" in output
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)  # an account without a name, as in a container
    assert (people.claimed_user(), people.account()) == ("uid 4000000000", "uid 4000000000")
