"""Fixtures shared by all tests: real images that need no network."""

import socket
from pathlib import Path

import pytest
from hypothesis import settings
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as RegistryStore
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as TrackingStore
from mlflow.tracking._model_registry.registry import ModelRegistryStoreRegistry
from mlflow.tracking._tracking_service.registry import TrackingStoreRegistry
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

from deepdigits.data.digits.splits import Split
from deepdigits.data.ingest.sources import digits_splits

ROOT = Path(__file__).parents[1]
settings.register_profile("any machine", deadline=None)  # how fast an example is tried is no property of the code
settings.load_profile("any machine")
# Files that share what takes minutes to make, by their length. While one process makes it for the first of them,
# the others do what needs none of it; the short ones come last, so that all processes end at about the same time.
WAITING = (
    "test_faults",
    "test_verify",
    "test_gate",
    "test_transfer",
    "test_serving",
    "test_audit",
    "test_promotion",
    "test_races",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        if item.path.parent.name != "pipeline":
            return 0
        return WAITING.index(item.path.stem) + 1 if item.path.stem in WAITING else -1

    items.sort(key=place)


def closed_port() -> str:
    """The URL of a port on this machine where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def forget_stores() -> None:
    """MLflow keeps connections by address, and the address is the same relative one in every folder."""
    for store in (TrackingStore, RegistryStore):
        store._engine_map.clear()
    for registry in (TrackingStoreRegistry, ModelRegistryStoreRegistry):
        registry._get_store_with_resolved_uri.cache_clear()
    _artifact_repos_cache.clear()


@pytest.fixture(scope="session")
def digits() -> tuple[Split, Split]:
    """scikit-learn's digits as 28x28 images: train and test."""
    return digits_splits()


@pytest.fixture(scope="session")
def digits_train(digits: tuple[Split, Split]) -> Split:
    return digits[0]
