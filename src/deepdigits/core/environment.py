"""What determines a training run's bytes besides code, data and parameters: locked packages and torch's build."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

from deepdigits.core.files import file_sha256

REQUIREMENTS = Path("requirements.lock")


def describe_environment(root: Path = Path()) -> dict[str, str]:
    """The hash of requirements.lock, torch's version and build, and the instruction set of its kernels on this machine.

    The instruction set is "unused" in a process that has not imported torch: the import takes more than a second.
    """
    torch = sys.modules.get("torch")
    return {
        "requirements_sha256": file_sha256(root / REQUIREMENTS),
        "torch": version("torch"),
        "cpu": torch.backends.cpu.get_cpu_capability() if torch else "unused",
    }


def environment_metrics(model: str) -> dict[str, str]:
    """The same, keyed by its names in reports/metrics/train_MODEL.json."""
    return {f"{model}.environment.{key}": value for key, value in describe_environment().items()}
