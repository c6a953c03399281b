"""Shared by the benchmarks: data, alternating timings, and the rows that end up in RESULTS.md."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from deepdigits.core import paths
from deepdigits.core.errors import UserError
from deepdigits.core.files import write_json
from deepdigits.core.loading import read_params
from deepdigits.data.digits.splits import Split, load_split
from deepdigits.release.params import Params

RESULTS = Path("benchmarks/results")


@dataclass(frozen=True)
class Row:
    """One comparison: our figure and the peer's, with units, and the target."""

    what: str
    ours: str
    peer: str
    figure: str
    target: str
    met: bool


def split(name: str) -> Split:
    """A split of the ingested data.

    Raises:
        UserError: `ingest` has not run.
    """
    path = paths.split_file(name)
    if not path.is_file():
        raise UserError(f"{path} is missing. Run first: make repro")
    return load_split(path)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def alternate(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each work.

    They run in turns, so that a slow spell of the machine affects all of them. One extra round warms up.
    """
    for work in works.values():
        work()
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            taken[name].append(seconds(work))
    return {name: statistics.median(values) for name, values in taken.items()}


def record(name: str, rows: list[Row], device: str = "cpu") -> None:
    """Print the rows and store them for RESULTS.md, with machine, versions and date."""
    table = Table("", "ours", "peer", "ratio", "target", "", title=name)
    for row in rows:
        verdict = "" if row.target in ("", "reported") else "met" if row.met else "MISSED"
        table.add_row(row.what, row.ours, row.peer, row.figure, row.target, verdict)
    Console(width=160).print(table)
    write_json(RESULTS / f"{name}.json", {"rows": [asdict(row) for row in rows], "environment": environment(device)})


def environment(device: str = "cpu") -> dict[str, str]:
    """Where and when a benchmark ran: processor, cores, threads, instruction set or GPU, versions, date."""
    cpu = "unknown processor"
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), cpu)
    packages = ("torch", "pytorch-lightning", "onnxruntime", "numpy")
    return {
        "processor": f"{cpu}, {os.cpu_count()} cores",
        "threads": str(read_params(Params).compute.threads),
        "capability": torch.cuda.get_device_name() if device == "cuda" else torch.backends.cpu.get_cpu_capability(),
        "versions": ", ".join(f"{name} {version(name)}" for name in packages) + f", Python {platform.python_version()}",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def read_results(name: str) -> dict[str, object]:
    return dict(json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")))
