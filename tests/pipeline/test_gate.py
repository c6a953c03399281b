"""Faults in the data, injected at the mirror: `dvc repro` stops before training and names what is wrong; models made
before stay. MNIST only: the faults are meant for its bands."""

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
from deepdigits.data.ingest.sources import mnist_splits, raw_bytes
from tests.pipeline.conftest import Workspace, outputs
from tests.pipeline.mirrors import FAULTS, HARMLESS, Fault, Files, trust, write_mirror

AT_ONCE = 2
SOURCES = Path("src/deepdigits/data/ingest/sources.py")


@dataclass(frozen=True)
class Tried:
    """What `dvc repro` did with one mirror."""

    code: int
    out: str
    err: str
    outputs: dict[str, str]


class Bench:
    """Copies of the finished clone, lent to one trial after the other."""

    def __init__(self, smoke: Workspace, folder: Path):
        self.smoke, self.folder = smoke, folder
        raw = smoke.root / "data/raw"
        self.files = part_of_mnist({path.name: path.read_bytes() for path in raw.iterdir()})
        self.free: SimpleQueue[Workspace] = SimpleQueue()
        for number in range(AT_ONCE):
            self.free.put(smoke.copy(folder / f"clone {number}"))

    def repro(self, name: str, files: Files, trusted: bool, *target: str) -> Tried:
        workspace = self.free.get()
        try:
            write_mirror(files, self.folder / name, compress=len(name) % 2 == 0)
            source = workspace.root / SOURCES
            shutil.copy(self.smoke.root / SOURCES, source)
            if trusted:
                trust(files, source)
            else:  # so that ingest has a reason to look at the mirror
                source.write_text(source.read_text() + f"# {name}\n")
            workspace.environment["MNIST_MIRROR"] = str(self.folder / name)
            done = workspace.run("dvc", "repro", *target)
            return Tried(
                done.returncode, done.stdout, " ".join(done.stderr.replace("│", " ").split()), outputs(workspace.root)
            )
        finally:
            shutil.rmtree(self.folder / name)
            self.free.put(workspace)


def part_of_mnist(files: Files) -> Files:
    """As many images as the smoke profile needs, so that nothing takes long, with MNIST's class shares."""
    train, test = mnist_splits(files)
    return raw_bytes(subset(train, 14_000, 0), subset(test, 2_000, 0))


@pytest.fixture(scope="module")
def bench(smoke: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    if read_json(smoke.root / "data/processed/manifest.json")["name"] != "mnist":
        pytest.skip("no mirror of MNIST could be reached, and the faults are meant for MNIST")
    return Bench(smoke, tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def tried(bench: Bench) -> Iterator[dict[str, Tried]]:
    """All faults, two at a time: most of the time is that of starting Python."""

    def attempt(name: str, fault: Fault) -> Tried:
        return bench.repro(name, fault.change(bench.files), fault.trusted)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = {name: pool.submit(attempt, name, fault) for name, fault in FAULTS.items()}
        yield {name: future.result() for name, future in futures.items()}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_the_data_stops_the_pipeline_by_name_before_training(
    name: str, tried: dict[str, Tried], smoke: Workspace
) -> None:
    found = tried[name]
    assert found.code != 0
    assert FAULTS[name].said in found.err
    assert "Traceback" not in found.err
    assert "Running stage 'train" not in found.out
    assert found.outputs == outputs(smoke.root)


@pytest.fixture(scope="module")
def passed(bench: Bench) -> dict[str, Tried]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = {
            name: pool.submit(bench.repro, name, change(bench.files), True, "validate")
            for name, change in HARMLESS.items()
        }
        return {name: future.result() for name, future in futures.items()}


@pytest.mark.parametrize("name", HARMLESS)
def test_a_harmless_variation_passes(name: str, passed: dict[str, Tried]) -> None:
    assert passed[name].code == 0, passed[name].err


def test_another_split_seed_passes(bench: Bench) -> None:
    workspace = bench.free.get()
    workspace.environment["MNIST_MIRROR"] = str(bench.folder / "first")
    write_mirror(bench.files, bench.folder / "first", compress=True)
    trust(bench.files, workspace.root / SOURCES)
    workspace.edit_params("split_seed: 20260101", "split_seed: 7")
    done = workspace.run("dvc", "repro", "validate")
    assert done.returncode == 0, done.stderr
