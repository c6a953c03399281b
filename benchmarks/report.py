"""Writes benchmarks/RESULTS.md from the recorded benchmark results: python -m benchmarks.report."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from benchmarks.common import RESULTS, read_results
from benchmarks.seeds import COLLAPSED, SHORT, SOUND, read_trainings, recipe_of
from deepdigits.core.files import write_text
from deepdigits.core.loading import PARAMS_FILE, read_yaml
from deepdigits.ops.exit import exits_cleanly
from deepdigits.release.datasets import read_dataset
from deepdigits.tasks.catalogue import TASKS

TITLES = {
    "input": "Input",
    "training": "Training",
    "gan": "GAN against other GANs",
    "inference": "Inference",
    "overhead": "Overhead of a stage",
    "pixels": "Reading pixel by pixel",
    "serving": "Serving",
    "waiting": "Training on a busy machine",
    "photos": "Photographed digits",
    "sharding": "Sharding",
    "gpu": "Training on a GPU",
    "own_data": "Own data",
}
TEMPLATE = Path(__file__).with_name("results.md.j2")
BAD = (SHORT, COLLAPSED)


@exits_cleanly
def main() -> None:
    write_text(Path("benchmarks/RESULTS.md"), render())


def render() -> str:
    """Render the whole page from the files in benchmarks/results."""
    sections = [
        {"name": name, "title": title, **read_results(name)}
        for name, title in TITLES.items()
        if (RESULTS / f"{name}.json").is_file()
    ]
    seeds: dict[str, Any] | None = read_results("seeds") if (RESULTS / "seeds.json").is_file() else None
    recipe = recipe_of(read_yaml(Path(PARAMS_FILE)))
    trainings = [record for record in read_trainings() if record["recipe"] == recipe]
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        sections=sections, seeds=seeds, trainings=trainings, floors=floor_rows(trainings), kinds=BAD
    )


def floor_rows(trainings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per floor: the figures of sound trainings, and of bad ones."""
    floors = read_dataset(Path.cwd(), "mnist").floors
    rows = []
    for task in TASKS.values():
        for floor, (measure, sign) in task.rules.items():
            if getattr(getattr(floors, task.name), floor) is None:
                continue
            key = f"{task.name}.{measure}"
            having = [record for record in trainings if key in record["figures"]]
            found = {
                kind: [record["figures"][key] for record in having if record["kind"] == kind] for kind in (SOUND, *BAD)
            }
            sound = found[SOUND]
            processors = defaultdict(list)
            for record in having:
                if record["kind"] == SOUND:
                    processors[record["environment"]["capability"]].append(record["figures"][key])
            limit = getattr(getattr(floors, task.name), floor)
            worst = (min if sign > 0 else max)(sound) if sound else None
            rows.append(
                {
                    "measure": f"{task.name.upper() if len(task.name) == 3 else task.name}, {measure}",
                    "rule": ">=" if sign > 0 else "<=",
                    "limit": limit,
                    "sound": sound,
                    "mean": statistics.mean(sound) if sound else None,
                    "deviation": statistics.stdev(sound) if len(sound) > 1 else None,
                    "processors": {kind: statistics.mean(values) for kind, values in sorted(processors.items())},
                    "margin": None if worst is None else sign * (worst - limit),
                    "bad": [
                        (found[kind][0], sign * found[kind][0] < sign * limit) if found[kind] else None for kind in BAD
                    ],
                }
            )
    return rows


if __name__ == "__main__":
    main()
