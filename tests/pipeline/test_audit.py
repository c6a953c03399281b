"""The audit detects changes made behind the registry's back; whatever a crash interrupted is repaired."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from deepdigits.core.errors import UserError
from deepdigits.ops.tracking import open_store
from deepdigits.promotion import lease
from deepdigits.promotion.entries import digest, serialise
from deepdigits.promotion.promote import rollback
from tests.conftest import forget_stores
from tests.pipeline.registry import aliases, decide, entries, faults, ledger_file, run_cli


def test_store_failure_mid_promotion_gives_one_message_and_the_next_call_completes_it(
    cnn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MlflowException("http://me:secret@server is gone")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_registered_model_alias", fail)
        done = run_cli("promote", f"{cnn}/1")
    assert done.exit_code == 2
    assert "The store failed: http://***@server is gone" in done.output
    assert aliases(cnn) == {"champion": None, "previous": None}
    again = decide(f"{cnn}/1")
    assert again.recovered == [f"Completed: {cnn} version 1 promoted, which was interrupted."]
    assert (again.action, aliases(cnn)["champion"], faults()) == ("unchanged", 1, [])


def test_alias_moved_by_hand_is_reported_and_stays_on_record(cnn: str) -> None:
    decide(f"{cnn}/1")
    open_store().set_registered_model_alias(cnn, "champion", "2")
    assert faults() == [
        f"{cnn}: the alias 'champion' points to version 2, but the ledger says version 1: it was moved by hand."
    ]
    assert run_cli("audit").exit_code == 3
    assert decide(f"{cnn}/1").action == "promoted"
    assert any("moved by hand in between" in fault for fault in faults())


def test_edited_entry_is_detected_even_if_the_hash_chain_is_recomputed(cnn: str) -> None:
    decide(f"{cnn}/1")
    decide(cnn)
    original = ledger_file().read_text()
    edited = original.replace('"action": "refused"', '"action": "promoted"')
    ledger_file().write_text(edited)
    assert any("Entry 2 of the ledger was edited" in fault for fault in faults())
    with pytest.raises(UserError, match="was edited"):
        decide(cnn)

    rows = [json.loads(line) for line in edited.splitlines()]
    rows[1]["sha256"] = digest(rows[1])
    ledger_file().write_text(serialise(rows))
    assert any("Entry 2 of the ledger does not match the copy in its decision's run" in fault for fault in faults())

    ledger_file().write_text(original.splitlines(keepends=True)[0])
    assert any("is missing from the ledger" in fault for fault in faults())
    ledger_file().write_text(original)
    assert faults() == []


def test_edited_record_is_detected(cnn: str) -> None:
    decide(f"{cnn}/1")
    (record,) = Path("mlruns/artifacts").rglob("decision.md")
    record.write_text(record.read_text().replace("promoted", "Promoted"))
    assert any("The record of entry 1" in fault and "was edited" in fault for fault in faults())


def test_ledger_truncated_mid_write_is_restored_by_the_next_decision(cnn: str) -> None:
    decide(f"{cnn}/1")
    decide(cnn)
    whole = ledger_file().read_text()
    ledger_file().write_text(whole[:-40])
    decide(cnn)
    assert ledger_file().read_text().startswith(whole)
    assert len(entries()) == 3
    assert faults() == []


WRITES = (
    "create_experiment", "create_run", "log_batch", "log_artifacts", "log_artifact", "set_tag", "log_param",
    "set_registered_model_alias", "delete_registered_model_alias", "update_model_version", "set_model_version_tag",
    "set_terminated",
)  # fmt: skip


def dies_at(step: int, act: Callable[[], object]) -> bool:
    """Run `act` in a child that exits abruptly, as under kill -9, before write number `step`; return whether it did."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            forget_stores()
            writes = 0

            def counting(name: str) -> Callable[..., Any]:
                original = getattr(MlflowClient, name)

                def write(*args: Any, **kwargs: Any) -> Any:
                    nonlocal writes
                    writes += 1
                    if writes == step:
                        os._exit(9)
                    return original(*args, **kwargs)

                return write

            for name in WRITES:
                setattr(MlflowClient, name, counting(name))
            act()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) in (0, 9)
    return os.waitstatus_to_exitcode(status) == 9


def test_a_rollback_killed_at_any_step_is_completed_or_undone_by_the_next(cnn: str) -> None:
    decide(f"{cnn}/2")
    decide(f"{cnn}/1")
    forget_stores()
    shutil.copytree("mlruns", "before")
    step = 0
    while True:
        step += 1
        assert step < 40
        shutil.rmtree("mlruns")
        shutil.copytree("before", "mlruns")
        forget_stores()
        killed = dies_at(step, lambda: rollback(cnn))
        if not killed:
            break
        outcome = rollback(cnn)
        assert (outcome.action, aliases(cnn)) == ("rolled back", {"champion": 2, "previous": 1}), step
        assert [entry["action"] for entry in entries()] == ["promoted", "promoted", "rolled back"], step
        assert faults() == [], step
    assert step > 8


def test_decision_is_refused_while_another_process_is_working_on_one(cnn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0)
    client = open_store()
    decide(f"{cnn}/1")
    run = client.get_run(entries()[-1]["run_id"])
    client.update_run(run.info.run_id, status="RUNNING")
    client.set_tag(run.info.run_id, "process", f"{os.uname().nodename}:{os.getppid()}")
    with pytest.raises(UserError, match=f"Process {os.getppid()} is still working on a decision"):
        decide(cnn)
