"""Each champion is loaded by itself: one that is damaged, or a store that is gone, harms no other and stops nothing.

The registry is a real one. What is fetched from it is replaced: the files of a version lie in a folder of the test.
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
from deepdigits.serving.champions import Broken, ChampionWatch, Served, open_network
from tests.conftest import forget_stores


class Registry:
    """Versions, each with a file, and the champions among them."""

    def __init__(self, folder: Path, networks: Path):
        self.folder, self.networks = folder, networks
        self.client: MlflowClient = open_store()

    def add(self, kind: str, damaged: bool = False) -> int:
        """A new champion."""
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
        kind = name.rpartition("-")[2]
        return Served(name, kind, version, {}, {}, open_network(kind, self.file(name, version), threads))


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


def test_one_damaged_champion_keeps_its_predecessor_or_is_missing_alone(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    registry.add("cnn")
    registry.add("rnn", damaged=True)
    watch = ChampionWatch(None, 1)
    with TestClient(create_app(watch, 60), "http://localhost") as client:
        assert client.get("/readyz").json()["status"] == "ready"
        right = {"images": [[[0] * 28] * 28]}
        assert client.post("/v1/classify?model=cnn", json=right).status_code == 200
        missing = client.post("/v1/classify?model=rnn", json=right)
        assert missing.status_code == 503
        assert "mnist-rnn version 1 cannot be served: " in missing.json()["detail"]

        registry.add("cnn", damaged=True)
        registry.add("gan")
        watch.refresh()
        assert client.post("/v1/classify", json=right).json()["results"][0]["version"] == 1
        assert client.post("/v1/generate", json={"digits": [1]}).status_code == 200
        for path in ("/readyz", "/v1/models"):
            named = {one["name"]: (one["version"], one["served"]) for one in client.get(path).json()["broken"]}
            assert named == {"mnist-cnn": (2, 1), "mnist-rnn": (1, None)}
        metrics = client.get("/metrics").text
        assert 'deepdigits_broken_champion{model="mnist-cnn",version="2"} 1.0' in metrics
        assert "mnist-cnn version 2 cannot be served: " in caplog.text

        registry.add("cnn")
        watch.refresh()
        assert client.post("/v1/classify", json=right).json()["results"][0]["version"] == 3
        assert [one["name"] for one in client.get("/readyz").json()["broken"]] == ["mnist-rnn"]
        assert "mnist-cnn" not in [
            line for line in client.get("/metrics").text.splitlines() if "broken_champion{" in line
        ]


def test_a_server_whose_only_champion_is_damaged_says_which(registry: Registry) -> None:
    registry.add("cnn", damaged=True)
    with TestClient(create_app(ChampionWatch(None, 1), 60), "http://localhost") as client:
        refused = client.get("/readyz")
        assert refused.status_code == 503
        assert "mnist-cnn version 1 cannot be served" in refused.json()["detail"]


def test_a_champion_that_could_not_be_loaded_is_tried_again_after_a_while(
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


def test_a_store_that_is_gone_for_a_while_costs_nothing(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
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
    assert not store.exists(), "a server makes no new store where one was taken away"
    Path("elsewhere").rename(store)
    registry.add("cnn")
    watch.refresh()
    assert watch.current["cnn"].version == 2


def test_champions_are_found_among_more_models_than_a_page_holds(registry: Registry) -> None:
    for number in range(101):
        registry.client.create_registered_model(f"a-{number:03}")
    registry.add("cnn")
    watch = ChampionWatch("mnist", 1)
    watch.refresh()
    assert set(watch.current) == {"cnn"}


def test_nothing_ends_the_looking_for_new_champions(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    raised = iter([ValueError("a surprise"), KeyError("another"), UserError("no store"), MemoryError()])
    looks = []

    def fail() -> None:
        looks.append(1)
        raise next(raised, UserError("still"))

    monkeypatch.setattr(champions, "_store", fail)
    watch = ChampionWatch(None, 1)

    async def look_for_a_while() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_keep_fresh(watch, 0.01), 1)

    with caplog.at_level(logging.WARNING):
        asyncio.run(look_for_a_while())
    assert len(looks) > 4
    assert "ValueError: a surprise" in caplog.text
