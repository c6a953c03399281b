"""One trial of a sweep: the stage's own training, as a process whose run in the store shows how far it is."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from deepdigits.core import paths
from deepdigits.core.files import read_json
from deepdigits.ops.experiments import TRIAL_TAGS
from deepdigits.ops.workers import Process, start
from deepdigits.release.workspace import child_environment

SWEEP, NUMBER = "sweep", "sweep.trial"  # tags of a trial's run


@dataclass
class Trial:
    """A training in `folder`; `process` is None unless it is running."""

    sweep: str
    number: int
    folder: Path
    stage: str
    process: Process | None = None
    reported: set[int] = field(default_factory=set)

    @property
    def model(self) -> str:
        return self.stage.removeprefix("train_")

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def begin(self, parent: str, origin: Mapping[str, str]) -> None:
        """Start the training, or resume it from its last checkpoint."""
        tags = {"mlflow.parentRunId": parent, SWEEP: self.sweep, NUMBER: str(self.number), **origin}
        environment = {**child_environment(), TRIAL_TAGS: json.dumps(tags), "OMP_WAIT_POLICY": "passive"}
        for name in ("DVC_ROOT", "DVC_STAGE", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
            environment.pop(name, None)
        command = [sys.executable, "-m", f"pipelines.{self.stage}"]
        self.process = start(command, self.folder, environment, self.log)

    def epochs(self, client: MlflowClient, experiment: str, objective: str) -> Iterator[tuple[int, float]]:
        """The epochs that have ended since the last call, each with its value of the objective."""
        run = find_trial_run(client, experiment, self.sweep, self.number)
        if run is None:
            return
        for metric in sorted(client.get_metric_history(run.info.run_id, objective), key=lambda metric: metric.step):
            if metric.step not in self.reported:
                self.reported.add(metric.step)
                yield metric.step, metric.value

    def result(self, objective: str) -> float:
        """The objective of the epoch that was kept."""
        figures: dict[str, Any] = read_json(self.folder / paths.training_file(self.model))
        return float(figures[f"{self.model}.{objective.replace('/', '.')}"])

    def tail(self, lines: int = 15) -> str:
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return os.linesep.join(text.splitlines()[-lines:])


def find_trial_run(client: MlflowClient, experiment: str, sweep: str, number: int) -> Run | None:
    """The newest run of a trial: a trial that was interrupted has one run for each time it was started."""
    terms = f"tags.`{SWEEP}` = '{sweep}' AND tags.`{NUMBER}` = '{number}'"
    found = client.search_runs([experiment], terms, max_results=1, order_by=["attributes.start_time DESC"])
    return found[0] if found else None
