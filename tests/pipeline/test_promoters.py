"""Two users promote concurrently through a real MLflow server on PostgreSQL."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from mlflow import MlflowClient

from deepdigits.ops.tracking import open_store
from deepdigits.promotion import ledger
from deepdigits.promotion.audit import audit
from deepdigits.promotion.bounds import LIMIT
from deepdigits.promotion.transaction import alias_version
from tests.conftest import ROOT, forget_stores
from tests.pipeline.conftest import environment
from tests.pipeline.servers import mlflow_server, postgresql
from tests.promotion.deciding import decide, make_model

ENTRIES_EACH = 100


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("promoters")
    with (
        postgresql(root / "postgresql") as database,
        mlflow_server(root / "server", database, environment()) as address,
    ):
        yield f"http://{address}"


@pytest.fixture
def client(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowClient]:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    forget_stores()
    yield open_store()
    forget_stores()


def run_concurrently(*arguments: list[str]) -> list[list[str]]:
    """Start promoters at the same moment and return the lines that each prints."""
    env = {**environment(), "MLFLOW_TRACKING_URI": os.environ["MLFLOW_TRACKING_URI"], "PYTHONPATH": "src:."}
    promoters = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.pipeline.promoter", *promoter_arguments],
            cwd=ROOT,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for promoter_arguments in arguments
    ]
    for promoter in promoters:
        assert promoter.stdout
        assert promoter.stdout.readline() == "ready\n"
    for promoter in promoters:
        assert promoter.stdin
        promoter.stdin.write("go\n")
        promoter.stdin.flush()
    printed = [promoter.communicate()[0].splitlines() for promoter in promoters]
    assert [promoter.returncode for promoter in promoters] == [0] * len(promoters)
    return printed


def test_concurrent_ledger_writers_lose_no_entry(client: MlflowClient, tmp_path: Path) -> None:
    for name in ("mnist-cnn", "mnist-rnn"):
        make_model(client, name)
    run_concurrently(["append", "mnist-cnn", str(ENTRIES_EACH)], ["append", "mnist-rnn", str(ENTRIES_EACH)])
    entries = ledger.load(client).entries
    assert [entry["sequence"] for entry in entries] == list(range(1, 2 * ENTRIES_EACH + 1))
    writers = [entry["by"] for entry in entries]
    assert (writers.count("mnist-cnn"), writers.count("mnist-rnn")) == (ENTRIES_EACH, ENTRIES_EACH)
    switches = sum(one != other for one, other in pairwise(writers))
    assert switches > ENTRIES_EACH / 4  # the writes did interleave
    ledger.write_file(client)
    assert audit(client) == (2 * ENTRIES_EACH, [])


def test_only_one_of_two_concurrent_promotions_from_the_same_champion_takes_effect(client: MlflowClient) -> None:
    name = make_model(client, "mnist-gan")
    first = len(ledger.load(client).entries)
    printed = run_concurrently(*[["promote", name, "6"]] * 2)
    results = [line.split()[0] for lines in printed for line in lines]
    entries = ledger.load(client).entries[first:]
    assert results.count("promoted") == len(entries) > 1
    assert len(results) == 12
    turns = [line for lines in printed for line in lines if line.startswith("promoted")]
    assert len(set(turns)) == len(turns)  # no two started from the same turn
    assert alias_version(client, name, "champion") == entries[-1]["champion"]
    assert ledger.unfinished(client) == []
    assert audit(client)[1] == []


def test_a_version_can_be_refused_again_and_again(client: MlflowClient) -> None:
    """PostgreSQL stores at most 5,000 characters of a description."""
    name = make_model(client, "mnist-swap", versions=1, card="# A card\n" * 300)
    for _ in range(12):
        decide(client, name, 1, "refused", reasons=["A floor of this model is not met, by far. " * 20] * 9)
    assert len(client.get_model_version(name, "1").description) <= LIMIT
    assert audit(client)[1] == []
