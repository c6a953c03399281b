"""What was cut off is completed or undone before anything else is decided about the same model."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from mlflow import MlflowClient
from mlflow.entities import Run

from deepdigits.core.errors import UserError
from deepdigits.ops.stores import reason
from deepdigits.ops.tracking import STORE_ERRORS
from deepdigits.promotion import lease, ledger
from deepdigits.promotion.claims import last_move
from deepdigits.promotion.ledger import Overtaken
from deepdigits.promotion.people import claimed_user
from deepdigits.promotion.transaction import INTENT_TAG, Intent, complete, undo


@dataclass(frozen=True)
class Recovered:
    """What was found cut off, and what became of it, as a sentence; `intent` if it was completed."""

    said: str
    intent: Intent | None = None


def begin(client: MlflowClient, name: str) -> tuple[int, list[Recovered]]:
    """Make the registry ready for a decision about a model: nothing about it is unfinished.

    Returns:
        The number of the entry that last moved its champion (0: none did), and what was put right.

    Raises:
        UserError: another process is at a decision about it, one that was cut off can be neither completed nor undone,
            or the ledger is broken.
    """
    found: list[Recovered] = []
    while True:
        found += recover(client, name)
        last = last_move(ledger.claims(client), name)
        # In this order: who has moved the champion by then was unfinished before, and has moved the alias since.
        if not any(run.data.tags.get("registry.name") == name for run in ledger.unfinished(client)):
            return last.number if last else 0, found


def recover(client: MlflowClient, name: str) -> list[Recovered]:
    """Complete or undo what was cut off. Only what concerns model `name` is waited for, or may be an error."""
    ledger.restore(client)
    found = []
    for run in ledger.unfinished(client):
        what, mine = described(run), run.data.tags.get("registry.name") == name
        if not (lease.cut_off(client, run, what) if mine else lease.holder(run) == "gone"):
            continue
        try:
            found.append(_put_right(client, run, what))
        except (UserError, *STORE_ERRORS) as error:
            said = (
                f"Not completed: {what}, which was cut off ({reason(error)}). "
                f"If that cannot be mended, give it up: deepdigits abandon {run.info.run_id}"
            )
            if mine:
                raise UserError(said) from None
            found.append(Recovered(said))
    return found


def described(run: Run) -> str:
    """A decision in a few words, whatever its tags are."""
    name, version, action = (run.data.tags.get(f"registry.{key}", "unknown") for key in ("name", "version", "action"))
    return f"{name} version {version} {action}"


def abandon(client: MlflowClient, run_id: str) -> str:
    """Give up a decision that was cut off and can be neither completed nor undone.

    Returns:
        What that means, as a sentence.

    Raises:
        UserError: there is no such decision, or it is at work.
    """
    run = next((run for run in ledger.unfinished(client) if run.info.run_id == run_id), None)
    if run is None:
        raise UserError(f"No unfinished decision has the run {run_id!r}. See: deepdigits audit")
    what = described(run)
    if not lease.cut_off(client, run, what):
        return f"It has ended by itself: {what}."
    client.set_tag(run_id, "registry.abandoned", f"{datetime.now(UTC).isoformat(timespec='seconds')} {claimed_user()}")
    client.set_terminated(run_id, "KILLED")
    number = next((claim.number for claim in ledger.claims(client) if claim.run_id == run_id), None)
    if number is None:
        return f"Given up: {what}. It had changed nothing."
    return f"Given up: {what}. It is entry {number} of the ledger and stays there; deepdigits audit tells what differs."


def _put_right(client: MlflowClient, run: Run, what: str) -> Recovered:
    run_id = run.info.run_id
    for key, value in lease.signs_of_life().items():
        client.set_tag(run_id, key, value)
    if INTENT_TAG not in run.data.tags:
        undo(client, run_id, "cut off before it had changed anything")
        return Recovered(f"Undone: {what}, which was cut off before it had changed anything.")
    try:
        with lease.held(client, run_id):
            return Recovered(f"Completed: {what}, which was cut off.", complete(client, run))
    except Overtaken as why:
        undo(client, run_id, str(why))
        return Recovered(f"Undone: {what}, which was cut off before it had changed anything. {why}")
