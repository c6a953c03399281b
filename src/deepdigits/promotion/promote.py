"""`deepdigits promote` and `deepdigits rollback`: score, decide, carry out and record."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from deepdigits.core.errors import UserError
from deepdigits.data.digits.manifest import validated_manifest
from deepdigits.ops.runs import every
from deepdigits.ops.tracking import open_store, store_uri
from deepdigits.promotion.record import change_record, decision_record
from deepdigits.promotion.recovery import begin
from deepdigits.promotion.registered import RegisteredModel, fetch, find, parse_reference
from deepdigits.promotion.rules import Decision, judge
from deepdigits.promotion.scoring import frozen_data, score_all
from deepdigits.promotion.transaction import (
    CHAMPION,
    PREVIOUS,
    Intent,
    alias_version,
    exclusive,
    perform,
)
from deepdigits.release.floors import check_floors, floors_of, missed_floors
from deepdigits.release.params import Params
from deepdigits.release.registry import CANDIDATE
from deepdigits.tasks.catalogue import TASKS

ROLLED_BACK = "rolled back"
Models = Mapping[str, RegisteredModel]


@dataclass(frozen=True)
class Outcome:
    """The result of a command. `action` is promoted, refused, unchanged or rolled back."""

    action: str
    name: str
    version: int
    reasons: list[str]
    numbers: dict[str, Any] = field(default_factory=dict)
    recovered: list[str] = field(default_factory=list)
    record: str = ""


def promote(reference: str, params: Params, *, dry_run: bool = False, allow_other_data: bool = False) -> Outcome:
    """Compare a version with the champion and act on the result. The default version is the candidate.

    Raises:
        UserError: the store, the version or its files cannot be read, the data here are not those it was tested on, or
            another decision has moved the champion in the meantime.
    """
    client = open_store()
    with exclusive(), tempfile.TemporaryDirectory() as folder:
        turn, recoveries = (0, []) if dry_run else begin(client, parse_reference(reference)[0])
        recovered = [one.said for one in recoveries]
        models = _contestants(client, reference, Path(folder))
        candidate, champion = models["candidate"], models.get("champion")
        if champion and _same_bytes(candidate, champion):
            reasons = [f"Nothing to promote: the champion, version {champion.version}, has the same model bytes."]
            return Outcome("unchanged", candidate.name, candidate.version, reasons, recovered=recovered)
        decision, record, evidence = _decide(client, models, params, allow_other_data, Path(folder))
        outcome = Outcome(
            decision.outcome, candidate.name, candidate.version, decision.reasons, decision.numbers, recovered, record
        )
        if not dry_run:
            perform(client, replace(_intent(client, models, decision), turn=turn), record, evidence)
        return outcome


def rollback(name: str) -> Outcome:
    """Move `champion` back to the previous champion. The two versions swap aliases.

    Raises:
        UserError: there is no such model or no previous champion, or another decision has moved the champion in the
            meantime.
    """
    client = open_store()
    with exclusive():
        turn, recoveries = begin(client, name)
        recovered = [one.said for one in recoveries]
        for one in recoveries:
            if one.intent and (one.intent.action, one.intent.name) == (ROLLED_BACK, name):
                # This is what the call was meant to do. Another rollback would reverse it.
                return Outcome(ROLLED_BACK, name, one.intent.version, one.intent.reasons, recovered=recovered)
        before = int(find(client, f"{name}@{CHAMPION}", CHAMPION).version)
        after = alias_version(client, name, PREVIOUS)
        if after is None:
            raise UserError(f"{name} had no champion before version {before}; there is nothing to roll back to.")
        reasons = [f"Rolled back from version {before} to version {after}."]
        title = f"{name}: rolled back to version {after}"
        intent = Intent(ROLLED_BACK, name, after, before, after, before, reasons, turn=turn)
        perform(client, intent, change_record(title, reasons), {})
        return Outcome(ROLLED_BACK, name, after, reasons, recovered=recovered)


def _contestants(client: MlflowClient, reference: str, folder: Path) -> Models:
    wanted = find(client, reference, CANDIDATE)
    models = {"candidate": fetch(wanted, folder, store_uri())}
    champion = alias_version(client, wanted.name, CHAMPION)
    if champion is None:
        return models
    if champion == int(wanted.version):
        return {**models, "champion": models["candidate"]}
    return {**models, "champion": fetch(find(client, f"{wanted.name}/{champion}", CHAMPION), folder, store_uri())}


def _same_bytes(first: RegisteredModel, second: RegisteredModel) -> bool:
    return all(first.tags.get(key) == second.tags.get(key) for key in ("model.sha256", "onnx.sha256"))


def _decide(
    client: MlflowClient, models: Models, params: Params, allow_other_data: bool, folder: Path
) -> tuple[Decision, str, dict[str, Any]]:
    candidate, champion = models["candidate"], models.get("champion")
    task = TASKS[candidate.kind]
    manifest = validated_manifest(task.data.manifest, task.data.verdict)
    if manifest["sha256"] != candidate.tags.get("dataset.sha256"):
        raise UserError(
            f"{candidate.title} was tested on data {str(candidate.tags.get('dataset.sha256'))[:12]}, but the data here "
            f"are {manifest['sha256'][:12]}. Promote it where its data are, e.g. after: git checkout "
            f"{candidate.tags.get('git.commit', 'COMMIT')[:12]} && make repro-all"
        )
    objections = []
    if champion and champion.tags.get("dataset.sha256") != manifest["sha256"] and not allow_other_data:
        objections.append(
            f"The champion was trained and tested on different data ({str(champion.tags.get('dataset.sha256'))[:12]}, "
            f"not {manifest['sha256'][:12]}). To compare anyway: --allow-other-data"
        )
    judges = _judges(client, candidate, folder)
    splits = frozen_data(task, manifest)
    scores = score_all(models, judges, splits, params.evaluate, params.compute.threads)
    gates = check_floors(task, scores["candidate"].result.measures, floors_of(candidate.dataset))
    objections += [f"Floor not met: {floor}." for floor in missed_floors(gates)]
    decision = judge(scores["candidate"], scores.get("champion"), params.promotion, params.evaluate.seed, objections)
    facts = {
        "champion": champion.title if champion else None,
        "test_images": len(splits["test"]),
        "dataset": manifest["sha256"],
        "gates": gates,
        "origin": {role: dict(model.tags) for role, model in models.items()},
        "judges": [_named(task.judges[kind], registered) for kind, registered in judges.items()],
    }
    return decision, decision_record(candidate.title, decision, facts), {**facts, "numbers": decision.numbers}


def _judges(client: MlflowClient, candidate: RegisteredModel, folder: Path) -> Models:
    """The registered models that help to judge a candidate, by kind."""
    kinds = TASKS[candidate.kind].judges
    return {kind: fetch(_judge_version(client, candidate, kind), folder / "judges", store_uri()) for kind in kinds}


def _judge_version(client: MlflowClient, candidate: RegisteredModel, kind: str) -> ModelVersion:
    """The champion of this kind. If there is none, the version packaged with the candidate, identified by its weights.

    Raises:
        UserError: neither exists.
    """
    name = f"{candidate.dataset}-{kind}"
    number = alias_version(client, name, CHAMPION)
    if number is None and candidate.named_files:
        condition = f"name = '{name}' AND tags.`model.sha256` = '{candidate.judged_by[kind]}'"
        found: Iterator[ModelVersion] = every(client.search_model_versions, condition)
        number = max((int(version.version) for version in found), default=None)
    elif number is None:
        number = alias_version(client, name, CANDIDATE)
    if number is None:
        raise UserError(
            f"{candidate.title} is judged with the help of a registered {kind}, but {name} has neither a champion nor "
            f"the version that was packaged with the candidate. Run first: deepdigits promote {name} (after make repro "
            "if there is no such version)"
        )
    return client.get_model_version(name, str(number))


def _named(role: str, judge: RegisteredModel) -> dict[str, Any]:
    hashes = {key: judge.tags.get(key) for key in ("package.sha256", "model.sha256", "onnx.sha256")}
    return {"role": role, "name": judge.name, "version": judge.version, **hashes}


def _intent(client: MlflowClient, models: Models, decision: Decision) -> Intent:
    candidate, champion = models["candidate"], models.get("champion")
    before = champion.version if champion else None
    previous = alias_version(client, candidate.name, PREVIOUS)
    facts = {key: candidate.tags.get(key) for key in ("package.sha256", "dataset.sha256", "git.commit")}
    if decision.outcome == "refused":
        return Intent("refused", candidate.name, candidate.version, before, before, previous, decision.reasons, facts)
    return Intent(
        "promoted", candidate.name, candidate.version, before, candidate.version, before, decision.reasons, facts
    )
