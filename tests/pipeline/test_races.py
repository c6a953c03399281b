"""Several threads or processes use a store for the first time at once: an MLflow server or a file."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from deepdigits.core.errors import UserError
from deepdigits.ops.tracking import experiment_id
from tests.conftest import forget_stores
from tests.pipeline.conftest import Workspace
from tests.pipeline.servers import mlflow_server

THREADS = 4
REGISTER = (
    "import sys, time\n"
    "from deepdigits.release.packaged import read_packaged\n"
    "from deepdigits.release.registry import register\n"
    "from deepdigits.tasks.catalogue import TASKS\n"
    "time.sleep(max(0, float(sys.argv[1]) - time.time()))\n"
    "version = register(read_packaged(TASKS['cnn'], 'smoke'))\n"
    "print(version.name, version.version, version.aliases)\n"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    with mlflow_server(folder, f"sqlite:///{folder}/mlflow.db", os.environ) as address:
        yield f"http://{address}"


def test_concurrent_first_users_of_a_server_share_one_experiment(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    forget_stores()
    for attempt in range(5):
        barrier, ids, errors = threading.Barrier(THREADS), [], []

        def get_experiment_id(name: str = f"race {attempt}", barrier=barrier, ids=ids, errors=errors) -> None:
            client = MlflowClient(server)
            barrier.wait()
            try:
                ids.append(experiment_id(client, name))
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=get_experiment_id) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        assert len(ids) == THREADS
        assert len(set(ids)) == 1


def test_deleted_experiment_on_a_server_is_named(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    client = MlflowClient(server)
    deleted_id = experiment_id(client, "deleted")
    client.delete_experiment(deleted_id)
    with pytest.raises(UserError, match=f"'deleted' in {server} has been deleted.*--experiment-id {deleted_id}"):
        experiment_id(client, "deleted")


@pytest.mark.parametrize("kind", ["server", "file"])
def test_concurrent_summaries_register_a_model_once(
    kind: str, smoke: Workspace, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    store = request.getfixturevalue("server") if kind == "server" else f"sqlite:///{tmp_path}/runs.db"
    command = [sys.executable, "-c", REGISTER, str(time.time() + 20)]
    environment = {**smoke.environment, "MLFLOW_TRACKING_URI": store}
    processes = [
        subprocess.Popen(command, cwd=smoke.root, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    outputs = {process.communicate(timeout=300)[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 3
    forget_stores()
    client = MlflowClient(store)
    (version,) = client.search_model_versions("tags.profile = 'smoke'")
    assert outputs == {f"{version.name} {version.version} ['candidate']\n"}
    experiment = client.get_experiment_by_name(version.name.removesuffix("-cnn")).experiment_id
    (run,) = client.search_runs([experiment])
    assert run.info.run_id == version.run_id
    assert len(client.search_logged_models([experiment])) == 1
