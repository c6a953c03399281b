"""Completes or undoes interrupted decisions before anything else is decided about the same model."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from mlflow import MlflowClient
from mlflow.entities import Run

from deepdigits.core.errors import UserError
from deepdigits.ops.people import claimed_user
from deepdigits.ops.stores import reason
from deepdigits.ops.tracking import STORE_ERRORS
from deepdigits.promotion import lease, ledger
from deepdigits.promotion.claims import last_move
from deepdigits.promotion.ledger import Overtaken
from deepdigits.promotion.transaction import INTENT_TAG, Intent, complete, undo


@dataclass(frozen=True)
class Recovered:
    """An interrupted decision. `said` is a sentence about what became of it; `intent` is set if it was completed."""

    said: str
    intent: Intent | None = None


def begin(client: MlflowClient, name: str) -> tuple[int, list[Recovered]]:
    """Prepare the registry for a decision about a model, so that no earlier decision about it is unfinished.

    Returns:
        The number of the entry that last moved its champion (0 if none did), and the decisions that were recovered.

    Raises:
        UserError: another process is working on a decision about the model, an interrupted one can be neither completed
            nor undone, or the ledger is broken.
    """
    found: list[Recovered] = []
    while True:
        found += recover(client, name)
        last = last_move(ledger.claims(client), name)
        # The order matters: if nothing is unfinished after the claims were read, each of them has moved its alias.
        if not any(run.data.tags.get("registry.name") == name for run in ledger.unfinished(client)):
            return last.number if last else 0, found


def recover(client: MlflowClient, name: str) -> list[Recovered]:
    """Complete or undo interrupted decisions. Only those about model `name` are waited for, or raise an error."""
    ledger.restore(client)
    found = []
    for run in ledger.unfinished(client):
        what, mine = described(run), run.data.tags.get("registry.name") == name
        if not (lease.cut_off(client, run, what) if mine else lease.holder(run) == "gone"):
            continue
        try:
            found.append(_recover_one(client, run, what))
        except (UserError, *STORE_ERRORS) as error:
            message = (
                f"Not completed: {what}, which was interrupted ({reason(error)}). "
                f"If that cannot be fixed, give it up: deepdigits abandon {run.info.run_id}"
            )
            if mine:
                raise UserError(message) from None
            found.append(Recovered(message))
    return found


def described(run: Run) -> str:
    """A short name for a decision, whatever its tags are."""
    name, version, action = (run.data.tags.get(f"registry.{key}", "unknown") for key in ("name", "version", "action"))
    return f"{name} version {version} {action}"


def abandon(client: MlflowClient, run_id: str) -> str:
    """Give up an interrupted decision that can be neither completed nor undone.

    Returns:
        What became of it, as a sentence.

    Raises:
        UserError: there is no such decision, or it is still in progress.
    """
    run = next((run for run in ledger.unfinished(client) if run.info.run_id == run_id), None)
    if run is None:
        raise UserError(f"No unfinished decision has the run {run_id!r}. See: deepdigits audit")
    what = described(run)
    if not lease.cut_off(client, run, what):
        return f"It ended on its own: {what}."
    client.set_tag(run_id, "registry.abandoned", f"{datetime.now(UTC).isoformat(timespec='seconds')} {claimed_user()}")
    client.set_terminated(run_id, "KILLED")
    number = next((claim.number for claim in ledger.claims(client) if claim.run_id == run_id), None)
    if number is None:
        return f"Given up: {what}. It had changed nothing."
    return f"Given up: {what}. It is entry {number} of the ledger and stays there; deepdigits audit shows what differs."


def _recover_one(client: MlflowClient, run: Run, what: str) -> Recovered:
    run_id = run.info.run_id
    for key, value in lease.signs_of_life().items():
        client.set_tag(run_id, key, value)
    if INTENT_TAG not in run.data.tags:
        undo(client, run_id, "interrupted before it had changed anything")
        return Recovered(f"Undone: {what}, which was interrupted before it had changed anything.")
    try:
        with lease.held(client, run_id):
            return Recovered(f"Completed: {what}, which was interrupted.", complete(client, run))
    except Overtaken as why:
        undo(client, run_id, str(why))
        return Recovered(f"Undone: {what}, which was interrupted before it had changed anything. {why}")
