"""Finds runs in the store: all of them, those with given tags, and those whose process is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from deepdigits.ops.lineage import Lineage
from deepdigits.ops.processes import state


def every(search: Callable[..., Any], *arguments: Any, **options: Any) -> Iterator[Any]:
    """All results of an MLflow search, page by page. A single search stops at 100 models or 1,000 runs."""
    token = None
    while True:
        page = search(*arguments, **options, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def find_run(client: MlflowClient, experiment: str, tags: Mapping[str, str]) -> Run | None:
    """The newest finished run that has all `tags`."""
    terms = [f"tags.`{key}` = '{value}'" for key, value in tags.items()] + ["attributes.status = 'FINISHED'"]
    found = client.search_runs(
        [experiment], " AND ".join(terms), max_results=1, order_by=["attributes.start_time DESC"]
    )
    return found[0] if found else None


def trained_before(client: MlflowClient, experiment: str, lineage: Lineage) -> str | None:
    """Who has already trained the same, and how to use that model instead; None if nobody has."""
    tags = lineage.tags()
    run = find_run(client, experiment, {key: tags[key] for key in ("stage", "stage.fingerprint")})
    if run is None:
        return None
    day, found = datetime.fromtimestamp(run.info.start_time / 1000).date(), run.data.tags
    commit, cpu, gpu = (found.get(key, "unknown") for key in ("git.commit", "environment.cpu", "environment.device"))
    where = cpu if gpu == "cpu" else gpu
    return (
        f"{lineage.stage} was already trained from this code, these data and these parameters: by "
        f"{found.get('mlflow.user', 'someone')} on {day}, from commit {commit[:12]}, on {where} (run "
        f"{run.info.run_id}). To use that model instead, stop this training, check out a commit whose dvc.lock has it, "
        "and run: make fetch"
    )


def close_orphans(client: MlflowClient, experiment: str) -> None:
    """Mark runs whose process is certainly gone (kill -9, power loss) as killed. MLflow never would.

    Runs of other hosts and containers are left alone: the next run there closes them.
    """
    for run in every(client.search_runs, [experiment], "attributes.status = 'RUNNING'"):
        if state(run.data.tags.get("process", "")) == "gone":
            client.set_terminated(run.info.run_id, "KILLED")
