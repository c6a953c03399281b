"""Fixtures shared by all tests: real images that need no network access."""

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
settings.register_profile("any machine", deadline=None)  # an example's run time depends on the machine, not the code
settings.load_profile("any machine")
# Files that share fixtures which take minutes to build, longest file first. While one process builds them for the first
# file, the others run tests that do not need them. The short files come last so that all processes finish at about the
# same time.
WAITING = (
    "test_faults",
    "test_verify",
    "test_gate",
    "test_transfer",
    "test_serving",
    "test_sharing",
    "test_cluster",
    "test_sweeps",
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
    for item in items:
        slow = item.path.parent.name == "pipeline" and item.path.stem != "test_smoke"
        if slow or item.path.stem == "test_sharding":
            item.add_marker(pytest.mark.extended)


def closed_port() -> str:
    """Return the URL of a local port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def forget_stores() -> None:
    """Clear MLflow's caches: they are keyed by address, and every folder uses the same relative address."""
    for store in (TrackingStore, RegistryStore):
        store._engine_map.clear()
    for registry in (TrackingStoreRegistry, ModelRegistryStoreRegistry):
        registry._get_store_with_resolved_uri.cache_clear()
    _artifact_repos_cache.clear()


@pytest.fixture(scope="session")
def digits() -> tuple[Split, Split]:
    """scikit-learn's digits as 28x28 images, split into train and test."""
    return digits_splits()


@pytest.fixture(scope="session")
def digits_train(digits: tuple[Split, Split]) -> Split:
    return digits[0]
