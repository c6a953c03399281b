"""Write benchmarks/RESULTS.md from what the benchmarks recorded: python -m benchmarks.report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from benchmarks.common import RESULTS, read_results
from benchmarks.seeds import COLLAPSED, SHORT, SOUND, TRAININGS
from deepdigits.core.files import write_text
from deepdigits.core.loading import read_params
from deepdigits.ops.exit import exits_cleanly
from deepdigits.release.params import Params
from deepdigits.tasks.catalogue import TASKS

TITLES = {
    "input": "Input",
    "training": "Training",
    "gan": "GAN against other GANs",
    "inference": "Inference",
    "overhead": "Overhead of a stage",
    "pixels": "Reading pixel by pixel",
    "serving": "Serving",
    "photos": "Photographed digits",
}
BAD = (SHORT, COLLAPSED)


@exits_cleanly
def main() -> None:
    write_text(Path("benchmarks/RESULTS.md"), render())


def render() -> str:
    """The whole page from the files in benchmarks/results."""
    sections = [
        {"name": name, "title": title, **read_results(name)}
        for name, title in TITLES.items()
        if (RESULTS / f"{name}.json").is_file()
    ]
    seeds: dict[str, Any] | None = read_results("seeds") if (RESULTS / "seeds.json").is_file() else None
    trainings = json.loads(TRAININGS.read_text(encoding="utf-8")) if TRAININGS.is_file() else []
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(PAGE).render(
        sections=sections, seeds=seeds, trainings=trainings, floors=floor_rows(trainings), kinds=BAD
    )


def floor_rows(trainings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per floor: what sound trainings reach, and what bad ones do."""
    gates = read_params(Params).gates["mnist"]
    rows = []
    for task in TASKS.values():
        for floor, (measure, sign) in task.rules.items():
            key = f"{task.name}.{measure}"
            found = {
                kind: [
                    record["figures"][key]
                    for record in trainings
                    if record["kind"] == kind and key in record["figures"]
                ]
                for kind in (SOUND, *BAD)
            }
            sound = found[SOUND]
            limit = getattr(getattr(gates, task.name), floor)
            worst = (min if sign > 0 else max)(sound) if sound else None
            rows.append(
                {
                    "measure": f"{task.name.upper() if len(task.name) == 3 else task.name}, {measure}",
                    "rule": ">=" if sign > 0 else "<=",
                    "limit": limit,
                    "sound": sound,
                    "margin": None if worst is None else sign * (worst - limit),
                    "bad": [
                        (found[kind][0], sign * found[kind][0] < sign * limit) if found[kind] else None for kind in BAD
                    ],
                }
            )
    return rows


PAGE = """# Results

Written by `make bench` and `make seeds`; each section by the command under its title, with machine, versions and date.
A ratio compares two things measured in one process or in turns. Other machines give other ratios.
{% macro place(environment) %}
{{ environment.date }}, {{ environment.processor }}, {{ environment.threads }} threads, {{ environment.capability }}; {{ environment.versions }}.
{% endmacro %}
{% if trainings %}

## Floors

`make seeds` trains everything with other seeds, or badly, and judges it on the test images; what it finds is gathered
over machines. A floor stands below the least of the sound trainings by about as much as these differ among themselves,
so that a sound one is not refused by chance: with normally distributed figures and five trainings that is three and a
half standard deviations below their mean, which one training in several thousand misses. Where fewer than five are
counted, the floor is a judgement that `make seeds` has yet to confirm. A figure in bold is below its floor: that model is
refused. Labels shuffled in a twentieth of the training set never reach a training: `validate` stops
them (11 % of labels contradict the nearest image there, 2 % in MNIST itself; the band ends at 4.5 %).

| | floor | sound trainings | from | to | margin |{% for kind in kinds %} {{ kind }} |{% endfor %}

| --- | --- | --- | --- | --- | --- |{% for kind in kinds %} --- |{% endfor %}

{% for row in floors if row.sound %}
| {{ row.measure }} | {{ row.rule }} {{ row.limit }} | {{ row.sound|length }} | {{ "%.4f"|format(row.sound|min) }} | {{ "%.4f"|format(row.sound|max) }} | {{ "%.4f"|format(row.margin) }} |{% for bad in row.bad %} {% if bad %}{{ "**%.4f**"|format(bad[0]) if bad[1] else "%.4f"|format(bad[0]) }}{% endif %} |{% endfor %}

{% endfor %}

The trainings:

{% for record in trainings %}
- {{ record.kind }}, commit {{ record.commit }}, {{ place(record.environment)|trim }}
{% endfor %}
{% endif %}
{% if seeds %}

## An earlier recipe

Five seeds of commit {{ seeds.commit }}, whose CNN had 16 epochs and whose RNN was a GRU of 128 without local contrast; kept
for the spread, which tells how wide a margin has to be.

{{ place(seeds.environment) }}

| | mean | deviation | least | most | seeds |
| --- | --- | --- | --- | --- | --- |
{% for name, row in seeds.rows.items() %}
| {{ name }} | {{ "%.4f"|format(row.mean) }} | {{ "%.4f"|format(row.deviation) }} | {{ "%.4f"|format(row.least) }} | {{ "%.4f"|format(row.most) }} | {{ row.seeds }} |
{% endfor %}
{% endif %}
{% for section in sections %}

## {{ section.title }}

`python -m benchmarks.{{ section.name }}`

{{ place(section.environment) }}

| | ours | peer | ratio | target | |
| --- | --- | --- | --- | --- | --- |
{% for row in section.rows %}
| {{ row.what }} | {{ row.ours }} | {{ row.peer }} | {{ row.figure }} | {{ row.target }} | {{ "" if row.target in ("", "reported") else "met" if row.met else "**missed**" }} |
{% endfor %}
{% endfor %}
"""


if __name__ == "__main__":
    main()
