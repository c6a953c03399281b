"""Trains everything with other seeds, or deliberately badly, and evaluates it.

    python -m benchmarks.seeds [HOW_MANY [PROFILE]]

Runs the real pipeline through its evaluations in a working copy, build/seeds-PROFILE. It stops once
`benchmarks/results/trainings.json` holds HOW_MANY (default: five) sound trainings of the current params, each with its
own seeds, and one of each bad kind. A training takes about an hour on two cores. Existing trainings count, whichever
processor or GPU they ran on: the file is in git and collects them across machines. Set floors from these figures, but
do not choose models by them: they are test figures.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save

from benchmarks.common import RESULTS, environment
from deepdigits.core import paths
from deepdigits.core.errors import UserError
from deepdigits.core.files import read_json, sha256, write_bytes, write_json, write_text
from deepdigits.core.loading import PARAMS_FILE, check, overlay, read_yaml
from deepdigits.core.measures import measures_of
from deepdigits.ops.exit import exits_cleanly
from deepdigits.ops.lineage import git_state
from deepdigits.ops.pipeline import pipeline_files, read_stages
from deepdigits.release.datasets import read_dataset
from deepdigits.release.generated import as_yaml
from deepdigits.release.params import Params
from deepdigits.release.workspace import child_environment, prepare
from deepdigits.tasks.catalogue import TASKS

SOUND, SHORT, COLLAPSED = "sound", "a tenth of the epochs", "collapsed generator"
HOW_MANY = 5
TRAININGS = RESULTS / "trainings.json"


@exits_cleanly
def main() -> None:
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else HOW_MANY
    profile = sys.argv[2] if len(sys.argv) > 2 else "default"
    copy = Path(f"build/seeds-{profile}")
    prepare(Path.cwd(), copy, profile)
    head, dirty = git_state()
    commit = head[:12] + " with changes" * dirty
    shipped = read_yaml(copy / PARAMS_FILE)
    recipe = recipe_of(shipped)
    records = read_trainings()

    def have(kind: str) -> int:
        return sum(record["recipe"] == recipe and record["kind"] == kind and is_complete(record) for record in records)

    def keep(kind: str) -> None:
        origin = {"kind": kind, "recipe": recipe, "commit": commit}
        machine = environment(shipped["compute"]["device"])
        records.append({**origin, "environment": machine, "figures": figures(copy)})
        write_json(TRAININGS, records)  # after each training, since each takes so long

    while have(SOUND) < wanted:
        train(with_seeds(shipped, 1 + have(SOUND)), copy)
        keep(SOUND)
        if not have(COLLAPSED):
            collapse_generator(copy)
            keep(COLLAPSED)
    if not have(SHORT):
        train(shortened(shipped), copy)
        keep(SHORT)


def read_trainings() -> list[dict[str, Any]]:
    """All recorded trainings, of every recipe."""
    return list(json.loads(TRAININGS.read_text(encoding="utf-8"))) if TRAININGS.is_file() else []


def is_complete(record: Mapping[str, Any]) -> bool:
    """Whether a record has the figures of all models that its kind of training concerns."""
    names = ("gan",) if record["kind"] == COLLAPSED else tuple(TASKS)
    return all(f"{name}.{measure}" in record["figures"] for name in names for measure in judged(name))


def judged(name: str) -> list[str]:
    """The measures of a model that have a floor on MNIST."""
    floors = getattr(read_dataset(Path.cwd(), "mnist").floors, name)
    return [measure for floor, (measure, _) in TASKS[name].rules.items() if getattr(floors, floor) is not None]


def recipe_of(params: Mapping[str, Any]) -> str:
    """Fingerprint of the params that trainings share if they differ only in their seeds."""
    names = [*(f"train_{task}" for task in TASKS), "compose"]
    return sha256(json.dumps([_without_seeds(params[name]) for name in names], sort_keys=True).encode())[:12]


def _without_seeds(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_seeds(below) for key, below in value.items() if key != "seed"}
    return value


def with_seeds(shipped: Mapping[str, Any], index: int) -> dict[str, Any]:
    """Shift every training's seed by 100 * index."""
    seeds: dict[str, Any] = {}
    for task in TASKS:
        section = shipped[f"train_{task}"]
        moved = {"seed": section.get("fit", section)["seed"] + 100 * index}
        seeds[f"train_{task}"] = {"fit": moved} if "fit" in section else moved
    return overlay(dict(shipped), seeds)


def shortened(shipped: Mapping[str, Any]) -> dict[str, Any]:
    """Cut every training to a tenth of its steps, as one epoch."""
    changes: dict[str, Any] = {}
    for task in TASKS:
        section = shipped[f"train_{task}"]
        fit = section.get("fit", section)
        epochs = "epochs" if "epochs" in fit else "max_epochs"
        shorter = {epochs: 1, "steps_per_epoch": max(1, fit[epochs] * fit["steps_per_epoch"] // 10)}
        changes[f"train_{task}"] = {"fit": shorter} if "fit" in section else shorter
    return overlay(dict(shipped), changes)


def train(params: dict[str, Any], copy: Path) -> None:
    check(params, Params, f"{PARAMS_FILE} with other seeds")
    write_text(copy / PARAMS_FILE, as_yaml(params))
    evaluations = [
        f"{file}:{name}"
        for file in pipeline_files(copy)
        for name in read_stages(copy, file)
        if name.startswith("evaluate")
    ]
    _run(copy, "dvc", "repro", *evaluations)


def collapse_generator(copy: Path) -> None:
    """Make the GAN ignore its noise, so that it draws one image per digit, and evaluate it."""
    path = copy / "models/gan/model.safetensors"
    weights = load_file(path)
    noise = weights["dense.weight"].shape[1] - 10
    weights["dense.weight"][:, :noise] = 0
    path.unlink()  # it may be a link into DVC's cache
    write_bytes(path, save(weights))
    _run(copy, "pipelines.evaluate", "gan")


def figures(copy: Path) -> dict[str, float]:
    """The figures that floors are checked against, by model and measure."""
    found: dict[str, float] = {}
    for name in TASKS:
        measures = measures_of(name, read_json(copy / paths.evaluation_file(name)))
        found |= {f"{name}.{measure}": measures[measure] for measure in judged(name)}
    return found


def _run(copy: Path, module: str, *arguments: str) -> None:
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=copy, env=child_environment(), check=False)
    if done.returncode:
        raise UserError(f"{module} failed in {copy} with exit code {done.returncode}; see above.")


if __name__ == "__main__":
    main()
