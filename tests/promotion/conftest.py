"""A real store, created once and copied for each test that changes it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from deepdigits.ops.tracking import open_store
from tests.conftest import forget_stores


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty_store")
    previous = Path.cwd()
    os.chdir(folder)
    try:
        open_store()
    finally:
        os.chdir(previous)
        forget_stores()
    return folder / "mlruns"


@pytest.fixture
def client(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowClient]:
    """A client of a store that belongs to this test alone, in the working directory."""
    shutil.copytree(empty_store, tmp_path / "mlruns")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    forget_stores()
    yield open_store()
    forget_stores()
