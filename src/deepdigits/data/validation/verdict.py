"""What the expectations found, for people and for the stages that depend on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment

from deepdigits.core.sections import DatasetName
from deepdigits.data.config import Subset
from deepdigits.data.digits.splits import SPLITS, Split
from deepdigits.data.validation.expectations import Outcome, Verdict

# Images in the canonical training and test sets; a file with fewer or more is not that data set.
CANONICAL: dict[DatasetName, tuple[int, int]] = {"mnist": (60_000, 10_000), "digits": (1_437, 360)}


def expected_counts(
    name: DatasetName, validation_images: Mapping[DatasetName, int], subset: Subset | None
) -> dict[str, int]:
    """The number of images that each split must have, from what the dataset is and what was asked for."""
    train, test = CANONICAL[name]
    validation = validation_images[name]
    whole = {"train": train - validation, "validation": validation, "test": test}
    if subset is None:
        return whole
    return {split: min(whole[split], getattr(subset, split)) for split in SPLITS}


def verdict_summary(verdict: Verdict, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON verdict: flat counts for `dvc metrics`, and each expectation with what it found."""
    return {
        "dataset.name": manifest["name"],
        "dataset.sha256": manifest["sha256"],
        "success": verdict.success,
        "expectations.evaluated": len(verdict.outcomes),
        "expectations.failed": len(verdict.failed),
        "outcomes": [
            {"frame": item.frame, "expectation": item.name, "success": item.success, "observed": item.observed}
            for item in sorted(verdict.outcomes, key=lambda item: (item.frame, item.name))
        ],
    }


def failure_message(verdict: Verdict, docs: Path, command: str) -> str:
    """What is wrong, where it is shown, and with what `command` to try again."""
    lines = []
    for outcome in verdict.failed:
        lines.append(f"- {outcome.name}: {outcome.observed}")
        if outcome.rows:
            shown = ["/".join(str(value) for value in row.values()) for row in outcome.rows[:5]]
            lines.append(f"  in {outcome.frame}: {', '.join(shown)}")
    return (
        f"{len(verdict.failed)} of {len(verdict.outcomes)} expectations are not met, so nothing will be trained:\n"
        + "\n".join(lines)
        + f"\nSee {docs}/index.html. Mend the data and run: {command}."
    )


def example_rows(outcome: Outcome, splits: Mapping[str, Split], count: int) -> list[tuple[str, int]]:
    """Images, as (split, index), that show why an expectation failed."""
    examples: list[tuple[str, int]] = []
    for row in outcome.rows:
        if "image" in row:
            split, _, index = row["image"].partition("/")
            examples.append((split, int(index)))
        else:
            labels = splits[row["split"]].labels
            chosen = np.flatnonzero(labels == row["label"]) if "label" in row else np.arange(len(labels))
            examples += [(row["split"], int(index)) for index in chosen[: max(1, count // len(outcome.rows))]]
    return examples[:count]


def index_page(verdict: Verdict, pictures: Mapping[str, str], title: str) -> str:
    """The front page of the Data Docs: every expectation, what was found, and the pictures of failures."""
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(INDEX)
    return template.render(verdict=verdict, pictures=pictures, title=title, frames=list(verdict.pages))


INDEX = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Data validation: {{ title }}</title>
<style>
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1100px;padding:0 1rem;color:#222}
table{border-collapse:collapse;width:100%}
td,th{border-bottom:1px solid #ddd;padding:.4rem .6rem;text-align:left;vertical-align:top}
.pass{color:#18794e}.fail{color:#b42318;font-weight:700}img{max-width:100%}
</style></head><body>
<h1>Data validation: {{ title }}</h1>
<p class="{{ 'pass' if verdict.success else 'fail' }}">
{{ verdict.outcomes|length - verdict.failed|length }} of {{ verdict.outcomes|length }} expectations are met.
{{ 'Training may go on.' if verdict.success else 'Nothing will be trained on these data.' }}</p>
<p>Great Expectations' own page of each frame:
{% for frame in frames %}<a href="{{ frame }}.html">{{ frame }}</a>{{ ', ' if not loop.last }}{% endfor %}.</p>
<table><tr><th></th><th>frame</th><th>expectation</th><th>observed</th></tr>
{% for item in verdict.outcomes|sort(attribute='success') %}
<tr><td class="{{ 'pass' if item.success else 'fail' }}">{{ 'met' if item.success else 'FAILED' }}</td>
<td>{{ item.frame }}</td><td>{{ item.name }}</td><td>{{ item.observed }}
{% if item.rows %}<br>{% for row in item.rows[:10] %}{{ row.values()|join('/') }} {% endfor %}{% endif %}
{% if item.name in pictures %}<br><img src="{{ pictures[item.name] }}" alt="images that break it">{% endif %}
</td></tr>
{% endfor %}
</table></body></html>
"""
