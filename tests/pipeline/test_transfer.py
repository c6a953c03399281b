"""Copying a champion from a staging to a production server: two real MLflow servers, one on PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from deepdigits.core.files import file_sha256, read_json
from tests.pipeline.conftest import Workspace
from tests.pipeline.servers import mlflow_server, postgresql

PASSWORD = "correct horse battery"
LOGIN = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": PASSWORD}


@pytest.fixture(scope="module")
def servers(smoke: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The addresses of staging, which has a champion CNN, and of production, which is empty."""
    root = tmp_path_factory.mktemp("servers")
    with (
        mlflow_server(root / "staging", f"sqlite:///{root}/staging.db", smoke.environment) as staging,
        postgresql(root / "postgresql") as database,
        mlflow_server(root / "production", database, smoke.environment, PASSWORD) as production,
    ):
        at_staging = replace(smoke, environment={**smoke.environment, "MLFLOW_TRACKING_URI": f"http://{staging}"})
        for command in (["summary"], ["promote", cnn_name(smoke)]):
            done = at_staging.run("deepdigits", *command)
            assert done.returncode == 0, done.stderr
        yield f"http://{staging}", production


def cnn_name(smoke: Workspace) -> str:
    return f"{read_json(smoke.root / 'data/processed/manifest.json')['name']}-cnn"


def transfer(smoke: Workspace, staging: str, production: str, **env: str) -> tuple[int, str, str]:
    workspace = replace(smoke, environment={**smoke.environment, **env})
    done = workspace.run("deepdigits", "promote", cnn_name(smoke), "--from", staging, "--to", production, "--json")
    return done.returncode, done.stdout, " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("login", "user"), [({"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": "wrong"}, ""), ({}, "a:b@")]
)
def test_wrong_password_gives_one_message_and_nothing_is_written(
    smoke: Workspace, servers: tuple[str, str], login: dict[str, str], user: str
) -> None:
    staging, production = servers
    code, _, message = transfer(smoke, staging, f"http://{user}{production}", **login)
    assert code == 2
    assert "cannot be opened" in message
    assert "401" in message or "not authenticated" in message
    assert "Traceback" not in message
    assert "wrong" not in message
    assert "a:b" not in message


def test_transferred_champion_keeps_its_origin_and_gets_a_new_decision(
    smoke: Workspace, servers: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    staging, production = servers
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    client = MlflowClient(f"http://{production}")
    assert client.search_registered_models() == []  # the refused transfers left nothing

    code, stdout, message = transfer(smoke, staging, f"http://{production}", **LOGIN)
    assert code == 0, message
    assert json.loads(stdout)["action"] == "promoted"

    version = client.get_model_version_by_alias(cnn_name(smoke), "champion")
    origin = MlflowClient(staging).get_model_version_by_alias(cnn_name(smoke), "champion")
    same = ("git.commit", "dataset.sha256", "model.sha256", "onnx.sha256", "package.sha256", "stage.fingerprint")
    assert {key: version.tags[key] for key in same} == {key: origin.tags[key] for key in same}
    assert version.tags["origin.store"] == staging

    run, source = client.get_run(version.run_id), MlflowClient(staging).get_run(origin.run_id)
    assert run.data.params == source.data.params
    curve, expected = (
        [(point.step, point.value) for point in store.get_metric_history(run_id, "val/accuracy")]
        for store, run_id in ((client, version.run_id), (MlflowClient(staging), origin.run_id))
    )
    assert curve == expected
    assert run.info.status == "FINISHED"
    assert {item.path for item in client.list_artifacts(version.run_id)} >= {"weights", "origin"}
    evidence = Path(client.download_artifacts(version.run_id, "origin", str(tmp_path)))
    assert "promoted" in (evidence / "decision.md").read_text()
    weights = client.download_artifacts(version.run_id, "weights/model.safetensors", str(tmp_path))
    assert file_sha256(Path(weights)) == version.tags["model.sha256"]

    again, stdout, message = transfer(smoke, staging, f"http://{production}", **LOGIN)
    assert (again, json.loads(stdout)["action"]) == (0, "unchanged"), message
    assert len(client.search_model_versions(f"name = '{cnn_name(smoke)}'")) == 1


def test_audit_and_verify_work_on_the_production_server(smoke: Workspace, servers: tuple[str, str]) -> None:
    at_production = {**smoke.environment, **LOGIN, "MLFLOW_TRACKING_URI": f"http://{servers[1]}"}
    workspace = replace(smoke, environment=at_production)
    audited = workspace.run("deepdigits", "audit")
    assert (audited.returncode, "1 entries, and everything agrees" in audited.stdout) == (0, True), audited.stdout
    verified = workspace.run("deepdigits", "verify", cnn_name(smoke))
    assert verified.returncode == 0, verified.stdout
