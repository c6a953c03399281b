"""Write benchmarks/RESULTS.md from what the benchmarks recorded: python -m benchmarks.report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from benchmarks.common import RESULTS, read_results
from deepdigits.errors import exits_cleanly
from deepdigits.files import write_text

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
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(PAGE).render(sections=sections, seeds=seeds)


PAGE = """# Results

Written by `make bench` and `make seeds`; each section by the command under its title, with machine, versions and date.
A ratio compares two things measured in one process or in turns. Other machines give other ratios.
{% macro place(environment) %}
{{ environment.date }}, {{ environment.processor }}, {{ environment.threads }} threads, {{ environment.capability }}; {{ environment.versions }}.
{% endmacro %}
{% if seeds %}

## Several seeds

`make seeds`. Real MNIST, the code and parameters of commit {{ seeds.commit }}, test images; the architecture and every
parameter were chosen on validation. Mean and sample standard deviation over the seeds, which differ in initial weights,
order and distortion.

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
