"""A sweep: Optuna proposes parameters, trials train with them, and hopeless trials are stopped early.

The sampler is TPE (Bergstra et al., 2011) with a fixed seed. Successive halving stops a trial that is not among the
best third of those that got as far (Li et al., 2020, arXiv:1810.05934). Trials that run at once end in any order, so a
sweep with several jobs is not repeatable; each of its trials is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import optuna
from mlflow.entities import Param, RunTag
from optuna.pruners import SuccessiveHalvingPruner
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from deepdigits.core import paths
from deepdigits.core.errors import Terminated, UserError
from deepdigits.core.files import read_json
from deepdigits.ops.lineage import git_state
from deepdigits.ops.processes import process_identity
from deepdigits.ops.tracking import experiment_id, open_store
from deepdigits.ops.workers import LOST
from deepdigits.sweeps.folder import prepare_trial, snapshot
from deepdigits.sweeps.space import Choice, Space
from deepdigits.sweeps.trial import SWEEP, Trial, find_trial_run

POLL_SECONDS = 1.0
KEPT = 3  # one in so many trials goes on at each rung
STARTED_AT_RANDOM = 8  # before TPE has enough to learn from
HOPELESS = 3  # failures before the first success after which the sweep gives up
LOST_NODES = 3  # times that a trial may lose its node

optuna.logging.set_verbosity(optuna.logging.WARNING)
Report = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What to search, and how much."""

    name: str
    stage: str
    space: Space
    trials: int
    jobs: int
    seed: int = 0

    @property
    def folder(self) -> Path:
        return Path("build/sweeps") / self.name


@dataclass(frozen=True)
class Finished:
    """The study, and the run that is the parent of the trials' runs."""

    study: optuna.Study
    parent: str


def run_sweep(plan: Plan, report: Report) -> Finished:
    """Run trials until there are `plan.trials`. Interrupted trials of an earlier call go on from their checkpoints.

    Raises:
        UserError: the first trials all fail, or the data are missing.
    """
    return _Sweep(plan, report).run()


class _Sweep:
    def __init__(self, plan: Plan, report: Report):
        self.plan, self.report = plan, report
        snapshot(Path.cwd(), plan.folder / "code")
        self.client = open_store()
        self.experiment = experiment_id(self.client, str(read_json(paths.MANIFEST)["name"]))
        self.study = open_study(plan)
        commit, dirty = git_state()
        self.origin = {"git.commit": commit, "git.dirty": str(dirty).lower()}
        self.parent = self._open_parent()
        self.running: dict[int, Trial] = {}
        self.losses: dict[int, int] = {}

    def run(self) -> Finished:
        waiting = [trial.number for trial in self.study.get_trials(states=[TrialState.RUNNING])]
        try:
            while waiting or self.running or len(self.study.trials) < self.plan.trials:
                while len(self.running) < self.plan.jobs and (waiting or len(self.study.trials) < self.plan.trials):
                    self._begin(waiting.pop(0) if waiting else self._ask())
                time.sleep(POLL_SECONDS)
                for trial in list(self.running.values()):
                    self._look_at(trial)
        except BaseException as error:
            self._stop_all("KILLED" if isinstance(error, KeyboardInterrupt | Terminated) else "FAILED")
            raise
        return Finished(self.study, self.parent)

    def _ask(self) -> int:
        proposed = self.study.ask()
        proposed.set_user_attr("changes", self.plan.space.suggest(proposed))
        return proposed.number

    def _begin(self, number: int) -> None:
        folder = self.plan.folder / f"trial-{number:03d}"
        changes = self.study.trials[number].user_attrs["changes"]
        prepare_trial(Path.cwd(), self.plan.folder / "code", folder, self.plan.stage, changes)
        trial = Trial(self.plan.name, number, folder, self.plan.stage)
        trial.begin(self.parent, self.origin)
        self.running[number] = trial
        self.report(f"trial {number} started: {shown(self.study.trials[number].params, self.plan.space)}")

    def _look_at(self, trial: Trial) -> None:
        assert trial.process
        code = trial.process.poll()
        hopeless = self._report_epochs(trial)
        if code is None and hopeless:
            trial.process.terminate()
            trial.process.wait()
            self._mark(trial, "pruned")
            self._tell(trial, TrialState.PRUNED)
        elif code == 0:
            value = trial.result(self.plan.space.objective)
            self._tell(trial, TrialState.COMPLETE, value)
        elif code is not None:
            self._failed(trial, code)

    def _report_epochs(self, trial: Trial) -> bool:
        """Report what is new to Optuna; return whether the trial should be stopped."""
        known = self.study.trials[trial.number]
        proposed = optuna.Trial(self.study, known._trial_id)
        for step, value in trial.epochs(self.client, self.experiment, self.plan.space.objective):
            if step not in known.intermediate_values:  # of a trial that resumed
                proposed.report(value, step)
            if proposed.should_prune():
                return True
        return False

    def _failed(self, trial: Trial, code: int) -> None:
        if code == LOST and self.losses.setdefault(trial.number, 0) < LOST_NODES:
            self.losses[trial.number] += 1
            self.report(f"trial {trial.number} lost its node, and goes on elsewhere from its last checkpoint")
            del self.running[trial.number]
            self._begin(trial.number)
            return
        self._tell(trial, TrialState.FAIL)
        states = [one.state for one in self.study.trials]
        if states.count(TrialState.FAIL) >= HOPELESS and TrialState.COMPLETE not in states:
            raise UserError(f"The first {HOPELESS} trials all failed. The end of {trial.log}:\n{trial.tail()}")

    def _tell(self, trial: Trial, state: TrialState, value: float | None = None) -> None:
        self.study.tell(trial.number, value, state)
        del self.running[trial.number]
        if state is TrialState.COMPLETE:
            best = self.study.best_trial
            self.report(
                f"trial {trial.number} done: {self.plan.space.objective} {value:.6g}; best: {best.value:.6g} of trial "
                f"{best.number}"
            )
        else:
            words = {TrialState.PRUNED: "stopped early", TrialState.FAIL: f"failed, see {trial.log}"}
            self.report(f"trial {trial.number} {words[state]}")

    def _mark(self, trial: Trial, outcome: str) -> None:
        run = find_trial_run(self.client, self.experiment, trial.sweep, trial.number)
        if run:
            self.client.set_tag(run.info.run_id, "sweep.outcome", outcome)

    def _stop_all(self, status: str) -> None:
        for trial in self.running.values():
            if trial.process:
                trial.process.terminate()
        for trial in self.running.values():
            if trial.process:
                trial.process.wait()
        self.client.set_terminated(self.parent, status)

    def _open_parent(self) -> str:
        """The run above the trials' runs: a new one, or that of the interrupted sweep."""
        process = process_identity()
        if known := self.study.user_attrs.get("parent"):
            self.client.set_tag(known, "process", process)
            self.client.update_run(known, status="RUNNING")
            return str(known)
        tags = {SWEEP: self.plan.name, "stage": self.plan.stage, "process": process, **self.origin}
        run = self.client.create_run(self.experiment, run_name=f"sweep {self.plan.name}", tags=tags)
        space = {key: str(item.model_dump(exclude_defaults=True)) for key, item in self.plan.space.space.items()}
        params = [Param(f"space.{key}", value) for key, value in space.items()]
        named = [Param("objective", self.plan.space.objective), Param("direction", self.plan.space.direction)]
        self.client.log_batch(run.info.run_id, params=[*params, *named], tags=[RunTag("trials", str(self.plan.trials))])
        self.study.set_user_attr("parent", run.info.run_id)
        return str(run.info.run_id)


def open_study(plan: Plan) -> optuna.Study:
    """The study of a plan, which remembers its trials in the sweep's folder.

    Raises:
        UserError: the folder belongs to a sweep over another space.
    """
    storage = JournalStorage(JournalFileBackend(str(plan.folder / "study.log")))
    study = optuna.create_study(
        storage=storage,
        sampler=TPESampler(n_startup_trials=STARTED_AT_RANDOM, seed=plan.seed, constant_liar=plan.jobs > 1),
        pruner=SuccessiveHalvingPruner(min_resource=1, reduction_factor=KEPT),
        study_name=plan.name,
        direction=plan.space.direction,
        load_if_exists=True,
    )
    described = {"stage": plan.stage, **plan.space.model_dump(mode="json")}
    if study.user_attrs.setdefault("plan", described) != described:
        raise UserError(
            f"{plan.folder} belongs to a sweep of another stage or over another space. Choose another NAME, or remove "
            "the folder."
        )
    study.set_user_attr("plan", described)
    return study


def shown(params: dict[str, object], space: Space) -> str:
    """The parameters of a trial for a reader: short names, and choices as they are."""
    parts = []
    for key, value in params.items():
        item, name = space.space.get(key), key.rpartition(".")[2]
        named = item.choices[int(str(value))] if isinstance(item, Choice) else value
        parts.append(f"{name} {named:.4g}" if isinstance(named, float) else f"{name} {named}")
    return ", ".join(parts)
