"""Data faults injected at the mirror: `dvc repro` names the fault and stops before training; earlier models stay.

MNIST only: the faults are tuned to its bands.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import pytest

from deepdigits.core.files import read_json
from deepdigits.data.digits.splits import subset
from deepdigits.data.ingest.sources import raw_bytes
from tests.pipeline.conftest import Workspace, output_hashes
from tests.pipeline.mirrors import FAULTS, HARMLESS, Fault, Files, splits_of, trust, write_mirror

CLONES = 2
DESCRIPTION = Path("datasets/mnist.yaml")


@dataclass(frozen=True)
class Attempt:
    """The result of `dvc repro` with one mirror."""

    code: int
    out: str
    err: str
    hashes: dict[str, str]


class ClonePool:
    """A pool of copies of the finished clone, each lent to one attempt at a time."""

    def __init__(self, smoke: Workspace, folder: Path):
        self.smoke, self.folder = smoke, folder
        raw = smoke.root / "data/raw"
        self.files = part_of_mnist({path.name: path.read_bytes() for path in raw.iterdir()})
        self.free: SimpleQueue[Workspace] = SimpleQueue()
        for number in range(CLONES):
            self.free.put(smoke.copy(folder / f"clone {number}"))

    def repro(self, name: str, files: Files, trusted: bool, *target: str) -> Attempt:
        workspace = self.free.get()
        try:
            write_mirror(files, self.folder / name, compress=len(name) % 2 == 0)
            source = workspace.root / DESCRIPTION
            shutil.copy(self.smoke.root / DESCRIPTION, source)
            if trusted:
                trust(files, source)
            else:  # a changed description makes DVC run ingest, which then reads the mirror
                source.write_text(source.read_text().replace("title: MNIST", f"title: {name}, MNIST"))
            workspace.environment["MNIST_MIRROR"] = str(self.folder / name)
            done = workspace.run("dvc", "repro", *target)
            return Attempt(
                done.returncode,
                done.stdout,
                " ".join(done.stderr.replace("│", " ").split()),
                output_hashes(workspace.root),
            )
        finally:
            shutil.rmtree(self.folder / name)
            self.free.put(workspace)


def part_of_mnist(files: Files) -> Files:
    """Take only as many images as the smoke profile needs, to save time, with MNIST's class shares."""
    train, test = splits_of(files)
    return raw_bytes(subset(train, 14_000, 0), subset(test, 2_000, 0))


@pytest.fixture(scope="module")
def clones(smoke: Workspace, tmp_path_factory: pytest.TempPathFactory) -> ClonePool:
    if read_json(smoke.root / "data/processed/manifest.json")["name"] != "mnist":
        pytest.skip("no MNIST mirror could be reached, and the faults are tuned to MNIST")
    return ClonePool(smoke, tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def attempts(clones: ClonePool) -> Iterator[dict[str, Attempt]]:
    """All faults, two at a time: most of the time goes into starting Python."""

    def run_fault(name: str, fault: Fault) -> Attempt:
        return clones.repro(name, fault.change(clones.files), fault.trusted)

    with ThreadPoolExecutor(CLONES) as pool:
        futures = {name: pool.submit(run_fault, name, fault) for name, fault in FAULTS.items()}
        yield {name: future.result() for name, future in futures.items()}


@pytest.mark.parametrize("name", FAULTS)
def test_data_fault_is_named_and_stops_the_pipeline_before_training(
    name: str, attempts: dict[str, Attempt], smoke: Workspace
) -> None:
    attempt = attempts[name]
    assert attempt.code != 0
    assert FAULTS[name].message in attempt.err
    assert "Traceback" not in attempt.err
    assert "Running stage 'train" not in attempt.out
    assert attempt.hashes == output_hashes(smoke.root)


@pytest.fixture(scope="module")
def harmless_attempts(clones: ClonePool) -> dict[str, Attempt]:
    with ThreadPoolExecutor(CLONES) as pool:
        futures = {
            name: pool.submit(clones.repro, name, change(clones.files), True, "validate")
            for name, change in HARMLESS.items()
        }
        return {name: future.result() for name, future in futures.items()}


@pytest.mark.parametrize("name", HARMLESS)
def test_a_harmless_variation_passes(name: str, harmless_attempts: dict[str, Attempt]) -> None:
    assert harmless_attempts[name].code == 0, harmless_attempts[name].err


def test_another_split_seed_passes(clones: ClonePool) -> None:
    workspace = clones.free.get()
    workspace.environment["MNIST_MIRROR"] = str(clones.folder / "first")
    write_mirror(clones.files, clones.folder / "first", compress=True)
    trust(clones.files, workspace.root / DESCRIPTION)
    workspace.edit("seed: 20260101", "seed: 7", DESCRIPTION)
    done = workspace.run("dvc", "repro", "validate")
    assert done.returncode == 0, done.stderr
