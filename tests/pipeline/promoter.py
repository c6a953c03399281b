"""Run as a process: decide repeatedly in the store at MLFLOW_TRACKING_URI while other processes do the same."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace

from mlflow import MlflowClient

from deepdigits.core.errors import UserError
from deepdigits.core.files import sha256
from deepdigits.ops.tracking import experiment_id, open_store
from deepdigits.promotion import ledger
from deepdigits.promotion.claims import EXPERIMENT
from deepdigits.promotion.ledger import Overtaken
from deepdigits.promotion.transaction import CHAMPION, alias_version, perform
from tests.promotion.deciding import RECORD, begin, intent


def append(client: MlflowClient, name: str, count: int) -> None:
    """Append `count` ledger entries as fast as possible, each with its own run."""
    experiment = experiment_id(client, EXPERIMENT)
    content = {
        **asdict(intent(client, name, 1, "refused")),
        "time": "2026-01-01T00:00:00+00:00",
        "by": name,
        "record_sha256": sha256(RECORD.encode()),
    }
    for _ in range(count):
        run_id = client.create_run(experiment, tags={"registry.action": "refused", "registry.name": name}).info.run_id
        client.log_text(run_id, RECORD, "decision.md")
        ledger.append(client, run_id, content)
        client.set_terminated(run_id, "FINISHED")


def promote(client: MlflowClient, name: str, count: int) -> None:
    """Promote whichever of two versions is not the champion, `count` times, and print the result of each attempt."""
    for _ in range(count):
        try:
            turn, _ = begin(client, name)
            other = 2 if alias_version(client, name, CHAMPION) == 1 else 1
            perform(client, replace(intent(client, name, other), turn=turn), RECORD, {})
            print("promoted", turn, flush=True)
        except Overtaken:
            print("overtaken", flush=True)
        except UserError as error:
            assert "is still working on a decision" in str(error)
            print("waited in vain", flush=True)


if __name__ == "__main__":
    store = open_store()
    print("ready", flush=True)
    sys.stdin.readline()
    action, model, count = sys.argv[1:]
    {"append": append, "promote": promote}[action](store, model, int(count))
