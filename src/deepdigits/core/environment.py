"""What besides code, data and parameters decides the bytes of a training: the locked packages, and torch's build."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

from deepdigits.core.files import file_sha256

REQUIREMENTS = Path("requirements.lock")


def describe_environment(root: Path = Path()) -> dict[str, str]:
    """The hash of requirements.lock, torch's version and build, and the instruction set that its kernels use here.

    The instruction set is "unused" in a process that has not imported torch, which takes more than a second.
    """
    torch = sys.modules.get("torch")
    return {
        "requirements_sha256": file_sha256(root / REQUIREMENTS),
        "torch": version("torch"),
        "cpu": torch.backends.cpu.get_cpu_capability() if torch else "unused",
    }


def environment_metrics(model: str) -> dict[str, str]:
    """The same by the names that it has in reports/metrics/train_MODEL.json."""
    return {f"{model}.environment.{key}": value for key, value in describe_environment().items()}
