"""Champions are loaded independently: neither a damaged one nor a missing store affects the others or stops the server.

The registry is real. Only fetching from it is replaced: the files of each version are in a folder of the test.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from starlette.testclient import TestClient

from deepdigits.core.errors import UserError
from deepdigits.ops.tracking import open_store
from deepdigits.serving import champions
from deepdigits.serving.app import _keep_fresh, create_app
from deepdigits.serving.champions import Broken, ChampionWatch, Served, opened
from tests.conftest import forget_stores


class Registry:
    """A real registry of versions with one file each, every new one a champion."""

    def __init__(self, folder: Path, networks: Path):
        self.folder, self.networks = folder, networks
        self.client: MlflowClient = open_store()

    def add(self, kind: str, damaged: bool = False) -> int:
        """Register a version, make it the champion and return its number."""
        name = f"mnist-{kind}"
        if not self.client.search_registered_models(f"name = '{name}'"):
            self.client.create_registered_model(name)
        version = int(self.client.create_model_version(name, str(self.folder)).version)
        data = (self.networks / f"{kind}.onnx").read_bytes()
        self.file(name, version).write_bytes(data[:-100] if damaged else data)
        self.client.set_registered_model_alias(name, "champion", str(version))
        return version

    def file(self, name: str, version: int) -> Path:
        return self.folder / f"{name}-{version}.onnx"

    def load(self, _client: MlflowClient, name: str, version: int, threads: int) -> Served:
        return opened(name, version, self.file(name, version), threads, {}, {})


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        forget_stores()
        open_store()
    return folder / "mlruns"


@pytest.fixture
def registry(empty_store: Path, networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    shutil.copytree(empty_store, tmp_path / "mlruns")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    forget_stores()
    registry = Registry(tmp_path, networks)
    monkeypatch.setattr(champions, "load", registry.load)
    yield registry
    forget_stores()


def test_a_damaged_champion_falls_back_to_its_predecessor_and_affects_no_other(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    registry.add("cnn")
    registry.add("rnn", damaged=True)
    watch = ChampionWatch(None, 1)
    with TestClient(create_app(watch, 60), "http://localhost") as client:
        assert client.get("/readyz").json()["status"] == "ready"
        body = {"images": [[[0] * 28] * 28]}
        assert client.post("/v1/classify?model=cnn", json=body).status_code == 200
        missing = client.post("/v1/classify?model=rnn", json=body)
        assert missing.status_code == 503
        assert "mnist-rnn version 1 cannot be served: " in missing.json()["detail"]

        registry.add("cnn", damaged=True)
        registry.add("gan")
        watch.refresh()
        assert client.post("/v1/classify", json=body).json()["results"][0]["version"] == 1
        assert client.post("/v1/generate", json={"digits": [1]}).status_code == 200
        for path in ("/readyz", "/v1/models"):
            broken = {
                champion["name"]: (champion["version"], champion["served"])
                for champion in client.get(path).json()["broken"]
            }
            assert broken == {"mnist-cnn": (2, 1), "mnist-rnn": (1, None)}
        metrics = client.get("/metrics").text
        assert 'deepdigits_broken_champion{model="mnist-cnn",version="2"} 1.0' in metrics
        assert "mnist-cnn version 2 cannot be served: " in caplog.text

        registry.add("cnn")
        watch.refresh()
        assert client.post("/v1/classify", json=body).json()["results"][0]["version"] == 3
        assert [champion["name"] for champion in client.get("/readyz").json()["broken"]] == ["mnist-rnn"]
        assert "mnist-cnn" not in [
            line for line in client.get("/metrics").text.splitlines() if "broken_champion{" in line
        ]


def test_a_server_whose_only_champion_is_damaged_names_it(registry: Registry) -> None:
    registry.add("cnn", damaged=True)
    with TestClient(create_app(ChampionWatch(None, 1), 60), "http://localhost") as client:
        refused = client.get("/readyz")
        assert refused.status_code == 503
        assert "mnist-cnn version 1 cannot be served" in refused.json()["detail"]


def test_a_champion_that_failed_to_load_is_retried_after_a_while(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = registry.add("cnn", damaged=True)
    watch = ChampionWatch(None, 1)
    watch.refresh()
    shutil.copy(registry.networks / "cnn.onnx", registry.file("mnist-cnn", version))
    watch.refresh()
    assert isinstance(watch.broken["cnn"], Broken)
    monkeypatch.setattr(champions, "RETRY_SECONDS", 0.0)
    watch.refresh()
    assert watch.current["cnn"].version == version
    assert watch.broken == {}


def test_a_temporarily_missing_store_interrupts_nothing(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    registry.add("cnn")
    watch = ChampionWatch(None, 1)
    watch.refresh()
    store = Path("mlruns")
    store.rename("elsewhere")
    forget_stores()
    watch.refresh()
    assert watch.current["cnn"].version == 1
    assert watch.failures == 1
    assert "could not refresh the champions" in caplog.text
    assert not store.exists(), "the server must not create a new store where one has gone missing"
    Path("elsewhere").rename(store)
    registry.add("cnn")
    watch.refresh()
    assert watch.current["cnn"].version == 2


def test_champions_are_found_beyond_the_first_page_of_models(registry: Registry) -> None:
    for number in range(101):
        registry.client.create_registered_model(f"a-{number:03}")
    registry.add("cnn")
    watch = ChampionWatch("mnist", 1)
    watch.refresh()
    assert set(watch.current) == {"cnn"}


def test_no_error_stops_the_watch_for_new_champions(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    errors = iter([ValueError("a surprise"), KeyError("another"), UserError("no store"), MemoryError()])
    attempts = []

    def fail() -> None:
        attempts.append(1)
        raise next(errors, UserError("still"))

    monkeypatch.setattr(champions, "_store", fail)
    watch = ChampionWatch(None, 1)

    async def watch_for_a_while() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_keep_fresh(watch, 0.01), 1)

    with caplog.at_level(logging.WARNING):
        asyncio.run(watch_for_a_while())
    assert len(attempts) > 4
    assert "ValueError: a surprise" in caplog.text
