"""The `report` stages: write one report page. Takes the page's name, then its tasks, e.g. index cnn rnn gan."""

from __future__ import annotations

import sys

from deepdigits.core import paths
from deepdigits.core.errors import UserError
from deepdigits.core.files import read_json, write_text
from deepdigits.core.loading import read_params
from deepdigits.core.measures import measures_of
from deepdigits.core.sections import StageParams
from deepdigits.data.digits.manifest import validated_manifest
from deepdigits.ops.exit import exits_cleanly
from deepdigits.release.floors import check_floors, floors_of
from deepdigits.release.packaged import read_metrics
from deepdigits.release.report import report_page, section
from deepdigits.tasks.evaluation import SCENES
from pipelines.tasks import task_named

COMPARED = {"cnn", "rnn"}


@exits_cleanly
def main() -> None:
    params = read_params(StageParams)
    if len(sys.argv) < 3:
        raise UserError("Pass the page name, then the names of its tasks, e.g. index cnn rnn gan.")
    page, *names = sys.argv[1:]
    tasks = {name: task_named(name) for name in names}
    (data,) = {task.data for task in tasks.values()}
    metrics = {name: read_metrics(task) for name, task in tasks.items()}
    dataset = read_json(paths.MANIFEST)["name"]
    floors = floors_of(dataset)
    gates = [
        gate for name, task in tasks.items() for gate in check_floors(task, measures_of(name, metrics[name]), floors)
    ]
    text = report_page(
        title=f"deepdigits on {dataset}" if page == "index" else f"deepdigits on {dataset}: {page}",
        dataset=dataset,
        manifest=validated_manifest(data.manifest, data.verdict),
        verdict=read_json(data.verdict),
        docs=(paths.SCENE_DOCS if data is SCENES else paths.DATA_DOCS).name,
        sections=[section(task, metrics[name]) for name, task in tasks.items()],
        gates=gates,
        comparison=read_json(paths.COMPARISON) if tasks.keys() >= COMPARED else None,
        profile=params.profile,
    )
    write_text(paths.REPORTS / f"{page}.html", text)


if __name__ == "__main__":
    main()
