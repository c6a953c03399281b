"""The command for sweeps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def add_sweep_commands(commands: typer.Typer) -> None:
    commands.command()(sweep)


def sweep(
    stage: Annotated[str, typer.Argument(help="The training to improve, e.g. train_cnn.")],
    trials: Annotated[int, typer.Option(min=1, max=100_000, help="How many trials in all.")] = 20,
    jobs: Annotated[int, typer.Option(min=1, max=1000, help="How many of them run at once.")] = 1,
    space: Annotated[Path | None, typer.Option(help="What to vary; by default profiles/sweeps/MODEL.yaml.")] = None,
    name: Annotated[str | None, typer.Option(help="The sweep's name, and that of the profile it writes.")] = None,
) -> None:
    """Search for better parameters of one training, by its validation data, and write the best ones as a profile.

    Started again with the same name, an interrupted sweep goes on.
    """
    import re

    from deepdigits.core.errors import UserError
    from deepdigits.ops.tracking import open_store
    from deepdigits.sweeps.outcome import conclude, refuse_taken_profile, table
    from deepdigits.sweeps.space import SPACES, read_space
    from deepdigits.sweeps.sweep import Plan, run_sweep

    if not stage.startswith("train_"):
        raise UserError(f"Only trainings can be swept, e.g. train_cnn, not {stage!r}.")
    model = stage.removeprefix("train_")
    name = name or f"best-{model}"
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
        raise UserError(
            f"NAME must consist of lowercase letters, digits, - and _, and start with a letter, not {name!r}."
        )
    refuse_taken_profile(name)
    found = read_space(space or SPACES / f"{model}.yaml", stage, Path.cwd())
    plan = Plan(name, stage, found, trials, jobs)
    console = Console(highlight=False)
    console.print(f"sweep {name}: {trials} trials of {stage}, {jobs} at once, in {plan.folder}")
    finished = run_sweep(plan, lambda text: console.print(text, markup=False))
    console.print(table(finished.study, found))
    path = conclude(plan, finished, open_store())
    advice = f"The best parameters are in {path}. To train with them, run: make repro PROFILE={name}"
    console.print(advice, soft_wrap=True)
