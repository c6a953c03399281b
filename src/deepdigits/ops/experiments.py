"""Whether this process runs as part of an experiment: a trial of other parameters, not the committed pipeline."""

from __future__ import annotations

import json
import os

TRIAL_TAGS = "DEEPDIGITS_TRIAL_TAGS"  # set for each trial of a sweep: tags of its run, as JSON


def experiment_name() -> str | None:
    """The DVC experiment's name, or the commit that it started from while it has none; None outside an experiment.

    `dvc exp run` and DVC's queue set these variables for the stages that they run.
    """
    return os.environ.get("DVC_EXP_NAME") or os.environ.get("DVC_EXP_BASELINE_REV") or None


def trial_tags() -> dict[str, str]:
    """The tags that a sweep gives to the run of its trial; empty outside a sweep."""
    tags: dict[str, str] = json.loads(os.environ.get(TRIAL_TAGS, "{}"))
    return tags
