"""The outcome of validation, for readers and for the stages that depend on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepdigits.core.templates import render
from deepdigits.data.config import Subset
from deepdigits.data.described import Counts
from deepdigits.data.digits.splits import SPLITS, Split
from deepdigits.data.validation.expectations import Outcome, Verdict


def expected_counts(described: Counts, subset: Subset | None) -> dict[str, int]:
    """The number of images each split must have, given the data set and the requested subset."""
    whole: dict[str, int] = described.model_dump()
    if subset is None:
        return whole
    return {split: min(whole[split], getattr(subset, split)) for split in SPLITS}


def verdict_summary(verdict: Verdict, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The verdict as JSON: flat counts for `dvc metrics`, and the outcome of each expectation."""
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
    """Say what failed, where to see it, and which `command` to run after fixing it."""
    lines = []
    for outcome in verdict.failed:
        lines.append(f"- {outcome.name}: {outcome.observed}")
        if outcome.rows:
            shown = ["/".join(str(value) for value in row.values()) for row in outcome.rows[:5]]
            lines.append(f"  in {outcome.frame}: {', '.join(shown)}")
    return (
        f"{len(verdict.failed)} of {len(verdict.outcomes)} expectations failed, so training is blocked:\n"
        + "\n".join(lines)
        + f"\nSee {docs}/index.html. Fix the data and run: {command}."
    )


def example_rows(outcome: Outcome, splits: Mapping[str, Split], count: int) -> list[tuple[str, int]]:
    """Pick images, as (split, index), that show why an expectation failed."""
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
    """Render the front page of the Data Docs: every expectation, its outcome, and images of the failures."""
    return render(
        "data/validation/index.html.j2",
        verdict=verdict,
        pictures=pictures,
        title=title,
        frames=list(verdict.pages),
    )
