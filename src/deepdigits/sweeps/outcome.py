"""What a sweep ends with: a table, plots in the parent run, and the winner as a profile."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import optuna
from mlflow import MlflowClient
from optuna.trial import TrialState
from optuna.visualization import matplotlib as drawn
from rich.table import Table
from ruamel.yaml import YAML

from deepdigits.core.errors import UserError
from deepdigits.core.files import write_text
from deepdigits.sweeps.space import Space
from deepdigits.sweeps.sweep import Finished, Plan, shown

MARK = "# The winner of a sweep"  # the start of each profile that a sweep writes
STATES = {TrialState.COMPLETE: "trained", TrialState.PRUNED: "stopped early", TrialState.FAIL: "failed"}


def conclude(plan: Plan, finished: Finished, client: MlflowClient) -> Path:
    """Log plots and the best value in the parent run, and write profiles/NAME.yaml. Return its path.

    Raises:
        UserError: no trial was trained to its end.
    """
    study = finished.study
    if not study.get_trials(states=[TrialState.COMPLETE]):
        client.set_terminated(finished.parent, "FAILED")
        raise UserError(f"No trial of the sweep {plan.name} was trained to its end; see {plan.folder}/trial-*/log.txt.")
    for name, picture in _plots(study).items():
        client.log_image(finished.parent, picture, artifact_file=f"plots/{name}.png")
    best = study.best_trial
    client.log_metric(finished.parent, f"best/{plan.space.objective}", float(best.value or 0))
    client.set_tag(finished.parent, "sweep.best", str(best.number))
    path = Path("profiles") / f"{plan.name}.yaml"
    write_text(path, profile_text(plan, study))
    client.log_artifact(finished.parent, str(path))
    client.set_terminated(finished.parent, "FINISHED")
    return path


def refuse_taken_profile(name: str) -> None:
    """Raise a UserError if a person wrote profiles/NAME.yaml, which the sweep would overwrite at its end."""
    path = Path("profiles") / f"{name}.yaml"
    if path.is_file() and not path.read_text(encoding="utf-8").startswith(MARK):
        raise UserError(f"{path} exists, and no sweep wrote it. Choose another NAME for the sweep.")


def profile_text(plan: Plan, study: optuna.Study) -> str:
    best = study.best_trial
    changes: dict[str, Any] = best.user_attrs["changes"]
    buffer = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = None
    yaml.dump({"profile": plan.name, **changes}, buffer)
    return (
        f"{MARK}: trial {best.number} of {len(study.trials)} of {plan.stage}, with {plan.space.objective} "
        f"{best.value:.6g} on validation data.\n# To train with it, run: make repro PROFILE={plan.name}\n"
        f"{buffer.getvalue()}"
    )


def table(study: optuna.Study, space: Space, rows: int = 10) -> Table:
    """The best trials, best first, then those that were stopped or failed."""
    sign = 1 if space.direction == "minimize" else -1
    found = Table("trial", space.objective, "epochs", "parameters", "", box=None, padding=(0, 2, 0, 0))
    done = sorted(study.get_trials(states=[TrialState.COMPLETE]), key=lambda trial: sign * float(trial.value or 0))
    others = [trial for trial in study.trials if trial.state is not TrialState.COMPLETE]
    for trial in [*done, *others][:rows]:
        value = f"{trial.value:.6g}" if trial.state is TrialState.COMPLETE else ""
        epochs = str(len(trial.intermediate_values))
        found.add_row(str(trial.number), value, epochs, shown(trial.params, space), STATES.get(trial.state, "running"))
    if len(study.trials) > rows:
        found.caption = f"{rows} of {len(study.trials)} trials"
    return found


def _plots(study: optuna.Study) -> dict[str, Any]:
    """Optuna's plots as images, uint8 `(height, width, 4)`. Importance needs two trials that differ."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    import numpy as np

    makers: dict[str, Any] = {
        "history": drawn.plot_optimization_history,
        "importance": drawn.plot_param_importances,
        "parallel": drawn.plot_parallel_coordinate,
    }
    pictures = {}
    for name, make in makers.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                axes = make(study)
        except (ValueError, RuntimeError):
            continue
        figure = axes.figure
        figure.set_size_inches(9, 5)
        figure.tight_layout()
        figure.canvas.draw()
        pictures[name] = np.asarray(figure.canvas.buffer_rgba()).copy()
        plt.close(figure)
    return pictures
