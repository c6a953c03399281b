"""What determines a training run's bytes besides code, data and parameters: packages, torch's build, and processor."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from deepdigits.core.files import file_sha256

REQUIREMENTS = Path("requirements.lock")


def describe_environment(root: Path = Path(), device: str = "cpu") -> dict[str, str]:
    """The hash of requirements.lock, torch's version and build, its instruction set on this machine, and the device.

    The instruction set is "unused" in a process that has not imported torch: the import takes more than a second.
    The device is `cpu`, or the GPU's name with the versions of its libraries.
    """
    torch = sys.modules.get("torch")
    return {
        "requirements_sha256": file_sha256(root / REQUIREMENTS),
        "torch": version("torch"),
        "cpu": torch.backends.cpu.get_cpu_capability() if torch else "unused",
        "device": _gpu() if device == "cuda" else device,
    }


def environment_metrics(model: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The same, keyed by its names in reports/metrics/train_MODEL.json."""
    return {f"{model}.environment.{key}": value for key, value in environment.items()}


def _gpu() -> str:
    import torch  # which takes more than a second

    libraries = f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    return f"{torch.cuda.get_device_name()}, {libraries}"
