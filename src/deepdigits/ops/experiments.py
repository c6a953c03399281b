"""Whether this process runs as part of a DVC experiment: a trial of other parameters, not the committed pipeline."""

from __future__ import annotations

import os


def experiment_name() -> str | None:
    """The experiment's name, or the commit that it started from while it has none; None outside an experiment.

    `dvc exp run` and DVC's queue set these variables for the stages that they run.
    """
    return os.environ.get("DVC_EXP_NAME") or os.environ.get("DVC_EXP_BASELINE_REV") or None
