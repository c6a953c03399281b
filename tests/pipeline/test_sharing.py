"""Results shared through a remote: a colleague's clone has everything without training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from deepdigits.core.files import read_json
from deepdigits.tasks.catalogue import TASKS
from tests.pipeline.conftest import Workspace, output_hashes
from tests.pipeline.servers import mlflow_server, object_store, postgresql

BUCKET = "team"
UP_TO_DATE = "Data and pipelines are up to date."


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    with object_store(BUCKET) as env:
        yield env


@pytest.fixture
def author(smoke: Workspace, tmp_path: Path) -> Workspace:
    """The finished clone of someone who shares it; its `origin` is a bare repository."""
    workspace = smoke.copy(tmp_path / "author")
    for command in (["clone", "--quiet", "--bare", ".", "../origin"], ["remote", "set-url", "origin", "../origin"]):
        assert workspace.run("git", *command).returncode == 0
    return workspace


@pytest.fixture
def colleague(author: Workspace) -> Workspace:
    """A fresh clone, in which nothing has run."""
    root = author.root.parent / "a colleague"
    assert author.run("git", "clone", "--quiet", "../origin", str(root)).returncode == 0
    return replace(author, root=root, environment=dict(author.environment))


def make(workspace: Workspace, *arguments: str) -> str:
    """Run make with the environment of the tests; return what it printed."""
    done = workspace.run("make", "STAMP=", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def failure(workspace: Workspace, *arguments: str) -> str:
    done = workspace.run("make", "STAMP=", *arguments)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return " ".join((done.stdout + done.stderr).replace("│", " ").split())


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_a_colleague_fetches_and_promotes_without_training(
    kind: str, author: Workspace, colleague: Workspace, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = str(tmp_path / "shared results")
    if kind == "s3":
        url = f"s3://{BUCKET}/deepdigits"
        for workspace in (author, colleague):
            workspace.environment.update(request.getfixturevalue("s3"))
    make(author, "remote", f"URL={url}")
    make(author, "share")
    make(colleague, "remote", f"URL={url}")
    summary = make(colleague, "fetch")
    assert output_hashes(colleague.root) == output_hashes(author.root)
    dataset = read_json(colleague.root / "data/processed/manifest.json")["name"]
    assert all(f"{dataset}-{model} version 1" in summary for model in TASKS)
    assert UP_TO_DATE in colleague.run("dvc", "repro", "--all-pipelines").stdout
    client = MlflowClient(f"sqlite:///{colleague.root}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name(dataset)
    runs = client.search_runs([experiment.experiment_id])
    assert {run.data.tags["restored"] for run in runs} == {"true"}
    assert len(runs) == len(TASKS)
    promoted = colleague.run("deepdigits", "promote", f"{dataset}-cnn")
    assert promoted.returncode == 0, promoted.stdout + promoted.stderr


def test_without_a_remote_nothing_is_shared_or_fetched_and_the_way_to_set_one_is_shown(author: Workspace) -> None:
    for command in ("share", "fetch"):
        message = failure(author, command)
        assert "No remote is set" in message
        assert "make remote URL=s3://BUCKET/PATH" in message
    assert "Which remote?" in failure(author, "remote")


def test_missing_outputs_at_the_remote_are_reported(colleague: Workspace, tmp_path: Path) -> None:
    make(colleague, "remote", f"URL={tmp_path / 'empty'}")
    message = failure(colleague, "fetch")
    assert "whoever trained them must run `make share`" in message
    assert not (colleague.root / "mlruns").exists()


def test_a_remote_is_committed_only_on_request_and_never_with_a_password(author: Workspace) -> None:
    config = author.root / ".dvc/config"
    before = config.read_text()
    make(author, "remote", "URL=webdav://me:secret@team.example/results")
    assert config.read_text() == before
    message = failure(author, "remote", "URL=webdav://me:secret@team.example/results", "SHARED=1")
    assert "would commit" in message
    assert "secret" not in message
    assert config.read_text() == before
    make(author, "remote", "URL=s3://team/results", "SHARED=1")
    assert "url = s3://team/results" in config.read_text()


def test_a_colleague_applies_a_shared_experiment_without_running_it(
    author: Workspace, colleague: Workspace, tmp_path: Path
) -> None:
    for workspace in (author, colleague):
        make(workspace, "remote", f"URL={tmp_path / 'shared'}")
    change = ("exp", "run", "--name", "more-examples", "--set-param", "validate.example_count=21", "validate")
    done = author.run("dvc", *change)
    assert done.returncode == 0, done.stderr
    make(author, "share")
    for command in (("pull", "origin", "more-examples"), ("apply", "more-examples")):
        done = colleague.run("dvc", "exp", *command)
        assert done.returncode == 0, done.stderr
    assert "example_count: 21" in (colleague.root / "params.yaml").read_text()
    assert UP_TO_DATE in colleague.run("dvc", "repro", "validate").stdout


def test_a_team_on_one_server_learns_that_a_model_was_already_trained(
    author: Workspace, s3: dict[str, str], tmp_path: Path
) -> None:
    with (
        postgresql(tmp_path / "postgresql") as database,
        mlflow_server(
            tmp_path / "server", database, {**author.environment, **s3}, artifacts=f"s3://{BUCKET}/artifacts"
        ) as server,
    ):
        team = replace(author, environment={**author.environment, "MLFLOW_TRACKING_URI": f"http://{server}"})
        assert team.run("deepdigits", "summary").returncode == 0
        trained = team.run("dvc", "repro", "--force", "--single-item", "train_rnn")
        assert trained.returncode == 0, trained.stderr
        message = " ".join(trained.stderr.replace("│", " ").split())
        assert "train_rnn was already trained from this code, these data and these parameters" in message
        assert "make fetch" in message
        dataset = read_json(author.root / "data/processed/manifest.json")["name"]
        versions = MlflowClient(f"http://{server}").search_model_versions(f"name = '{dataset}-rnn'")
        assert len(versions) == 1
