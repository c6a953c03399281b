"""The numbers of the ledger's entries. The store itself assigns each number once.

A writer claims a number by logging a parameter with the entry's hash to the run `ledger`. MLflow never changes a
parameter, and its database keeps one value per key. So exactly one of several concurrent writers gets a number, and
never loses it. Which run is the ledger is settled the same way, by creating an experiment: its name is unique.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from pydantic import BaseModel, ConfigDict

from deepdigits.core.errors import UserError
from deepdigits.ops.runs import every
from deepdigits.ops.stores import reason
from deepdigits.ops.tracking import experiment_id
from deepdigits.promotion.entries import Entry, Number, RunId, Sha256

EXPERIMENT = "registry"
SETTLED = "registry ledger"
SETTLED_NOTE = "Empty. Its tag `ledger.run` names the run of the experiment `registry` that is the ledger. Keep it."
RUN_TAG = "ledger.run"


class Claim(BaseModel):
    """The run that a number was assigned to, and what its decision does to the aliases of its model."""

    model_config = ConfigDict(strict=True)

    number: Number
    run_id: RunId
    sha256: Sha256
    name: str
    champion_before: Number | None
    champion: Number | None
    previous: Number | None


def last_move(claims: Sequence[Claim], name: str) -> Claim | None:
    """The claim that last moved the champion of a model."""
    moves = [claim for claim in claims if claim.name == name and claim.champion != claim.champion_before]
    return moves[-1] if moves else None


def ledger_run(client: MlflowClient) -> Run | None:
    """The run that was settled on as the ledger; in a store of an earlier release, the first ledger run."""
    settled = client.get_experiment_by_name(SETTLED)
    if settled is None:
        found = decision_runs(client, "tags.`registry.ledger` = 'true'")
        return found[0] if found else None
    run_id = settled.tags.get(RUN_TAG, "")
    try:
        return client.get_run(run_id)
    except MlflowException as error:
        raise UserError(
            f"The ledger, run {run_id!r} according to the experiment {SETTLED!r}, cannot be read: {reason(error)} "
            f"If it is lost, set that experiment's tag {RUN_TAG} to another run named ledger in the experiment "
            f"{EXPERIMENT!r}."
        ) from None


def settled_run(client: MlflowClient) -> str:
    """The ID of the ledger's run, which is created on first use. Concurrent creators all get the same one."""
    settled = client.get_experiment_by_name(SETTLED)
    if settled is not None:
        return str(settled.tags.get(RUN_TAG, ""))
    run = ledger_run(client)
    if run is None:
        experiment = experiment_id(client, EXPERIMENT)
        run = client.create_run(experiment, run_name="ledger", tags={"registry.ledger": "true"})
        client.set_terminated(run.info.run_id)
    try:
        client.create_experiment(SETTLED, tags={RUN_TAG: run.info.run_id, "mlflow.note.content": SETTLED_NOTE})
    except MlflowException as error:
        settled = client.get_experiment_by_name(SETTLED)
        if error.error_code != "RESOURCE_ALREADY_EXISTS" or settled is None:
            raise
        chosen = str(settled.tags.get(RUN_TAG, ""))
        if chosen != run.info.run_id:
            client.delete_run(run.info.run_id)
        return chosen
    return str(run.info.run_id)


def claim(client: MlflowClient, home: str, entry: Entry) -> bool:
    """Claim the entry's number. Returns False if another entry already has it."""
    key = f"entry.{entry['sequence']:06}"
    own = Claim(number=entry["sequence"], **{field: entry[field] for field in Claim.model_fields if field != "number"})
    try:
        client.log_param(home, key, own.model_dump_json(), synchronous=True)
    except MlflowException:
        taken = client.get_run(home).data.params.get(key)
        if taken is None:
            raise
        return bool(taken == own.model_dump_json())
    return True


def given(run: Run | None) -> tuple[list[Claim], list[str]]:
    """The claims in the ledger's run, up to the first that cannot be read, and what is wrong with them."""
    if run is None:
        return [], []
    found: list[Claim] = []
    faults = []
    if run.info.lifecycle_stage != "active":
        faults = [f"The run of the ledger was deleted. Restore it: mlflow runs restore --run-id {run.info.run_id}"]
    params = {key: value for key, value in run.data.params.items() if key.startswith("entry.")}
    for number in range(1, len(params) + 1):
        try:
            found.append(Claim.model_validate_json(params[f"entry.{number:06}"]))
            if found[-1].number != number:
                raise ValueError
        except (KeyError, ValueError):
            return found[: number - 1], [*faults, f"Entry {number} of the ledger has no readable claim in its run."]
    return found, faults


def sound(run: Run | None) -> list[Claim]:
    """The claims in the ledger's run, if nothing is wrong with them.

    Raises:
        UserError: a claim cannot be read, or the run was deleted.
    """
    found, faults = given(run)
    if faults:
        raise UserError(f"{faults[0]} No decision is made on a broken ledger. See: deepdigits audit")
    return found


def decision_runs(client: MlflowClient, condition: str) -> list[Run]:
    """Runs in the experiment `registry` that match an MLflow search condition, oldest first."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return []
    order = ["attributes.start_time ASC"]
    return list(every(client.search_runs, [experiment.experiment_id], condition, order_by=order))
