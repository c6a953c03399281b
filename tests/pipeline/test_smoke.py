"""What a user has after `make repro`, and what happens when something goes wrong."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

from deepdigits.core.files import file_sha256
from deepdigits.core.loading import read_yaml
from deepdigits.data.scenes.scenes import load_scenes, save_scenes
from deepdigits.ops.pipeline import pipeline_files, read_stages
from deepdigits.tasks.catalogue import TASKS
from tests.pipeline.conftest import Workspace, locked_stages, output_hashes
from tests.pipeline.killing import HANDWRITING, MID_STAGE_FILES, run_and_signal
from tests.pipeline.servers import free_port, wait_for

MODELS = tuple(TASKS)


def store(workspace: Workspace) -> MlflowClient:
    return MlflowClient(f"sqlite:///{workspace.root}/mlruns/mlflow.db")


def metrics(workspace: Workspace) -> dict[str, Any]:
    """Return the metrics of all stages in one flat dict."""
    files = sorted((workspace.root / "reports/metrics").glob("*.json"))
    return {key: value for file in files for key, value in json.loads(file.read_text()).items()}


def runs(workspace: Workspace) -> list[Any]:
    client = store(workspace)
    experiment = client.get_experiment_by_name(metrics(workspace)["dataset.name"])
    return list(client.search_runs([experiment.experiment_id]))


def versions(workspace: Workspace, model: str) -> list[Any]:
    name = f"{metrics(workspace)['dataset.name']}-{model}"
    return list(store(workspace).search_model_versions(f"name = '{name}'"))


def out_paths(root: Path) -> list[Path]:
    return [root / out["path"] for stage in locked_stages(root).values() for out in stage["outs"]]


def test_every_out_exists_and_a_second_run_does_nothing(smoke: Workspace) -> None:
    declared = [name for file in pipeline_files(smoke.root) for name in read_stages(smoke.root, file)]
    assert set(locked_stages(smoke.root)) == set(declared)
    assert all(path.exists() for path in out_paths(smoke.root))
    before = len(runs(smoke))
    done = smoke.run("dvc", "repro", "--all-pipelines")
    assert "Data and pipelines are up to date." in done.stdout
    assert len(runs(smoke)) == before


def test_no_out_reveals_where_it_was_made(smoke: Workspace) -> None:
    traces = [str(smoke.root).encode(), b"site-packages"]
    for out in out_paths(smoke.root):
        for path in [out] if out.is_file() else [item for item in out.rglob("*") if item.is_file()]:
            assert not any(trace in path.read_bytes() for trace in traces), path


def test_metrics_are_flat_and_complete(smoke: Workspace) -> None:
    values = metrics(smoke)
    expected = {
        "cnn.test.accuracy",
        "rnn.test.accuracy",
        *(f"gan.test.{name}" for name in ("fid", "fid_floor", "coverage", "fool_rate_fresh", "synthetic_accuracy")),
        *(f"gan.test.{name}" for name in ("novelty", "precision", "recall", "density")),
    }
    expected |= {
        f"{model}.test.{name}" for model in ("cnn", "rnn") for name in ("corrupted_mean", "fgsm.0.1", "temperature")
    }
    assert expected | {"dataset.name", "mcnemar.p_value"} < set(values)
    assert not any(isinstance(values[key], dict | list) for key in values if key.startswith(MODELS))
    for model in ("cnn", "rnn"):
        assert (
            values[f"{model}.test.accuracy_low"]
            < values[f"{model}.test.accuracy"]
            < values[f"{model}.test.accuracy_high"]
        )
    assert values["gan.judged_by.cnn"] == file_sha256(smoke.root / "models/cnn/model.safetensors")


def test_each_stage_and_model_has_one_finished_run_with_its_identity(smoke: Workspace) -> None:
    finished = {run.info.run_name: run for run in runs(smoke) if run.info.status == "FINISHED"}
    evaluated = [f"evaluate_{model}" for model in MODELS]
    trained = [f"train_{model}" for model in MODELS]
    packaged = [f"package_{model}" for model in MODELS]
    data = ["ingest", "validate", "compose", "validate_scenes"]
    assert set(finished) == {*data, *trained, *evaluated, *packaged, "compare"}
    assert {run.info.status for run in runs(smoke)} <= {"FINISHED", "KILLED"}
    commit = smoke.run("git", "rev-parse", "HEAD~1").stdout.strip()  # the last commit added the outputs
    for run in finished.values():
        assert run.data.tags["git.commit"] == commit
        assert run.data.tags["git.dirty"] == "false"
        assert run.data.tags["profile"] == "smoke"
        assert run.inputs.dataset_inputs
        assert run.data.tags["mlflow.note.content"]
    params = read_yaml(smoke.root / "params.yaml")
    assert finished["train_cnn"].data.params["fit.epochs"] == str(params["train_cnn"]["fit"]["epochs"])
    history = store(smoke).get_metric_history(finished["train_cnn"].info.run_id, "val/accuracy")
    assert len(history) == params["train_cnn"]["fit"]["epochs"]
    figures = smoke.root / finished["evaluate_cnn"].info.artifact_uri / "figures"
    plots = ("confusion", "first_layer", "mistakes", "occlusion", "reliability")
    assert {file.name for file in figures.iterdir()} == {*(f"{name}.png" for name in plots), "predictions.csv"}


@pytest.mark.extended
def test_runs_of_killed_stages_are_closed(smoke: Workspace) -> None:
    assert {run.info.status for run in runs(smoke)} == {"FINISHED", "KILLED"}


def test_each_model_is_a_candidate_traceable_to_its_origin(smoke: Workspace) -> None:
    for model in MODELS:
        (version,) = versions(smoke, model)
        run = store(smoke).get_run(version.run_id)
        weights = file_sha256(smoke.root / "models" / model / "model.safetensors")
        assert store(smoke).get_model_version_by_alias(version.name, "candidate").version == version.version
        assert version.tags["model.sha256"] == run.data.tags["model.sha256"] == weights
        assert run.info.run_name == f"train_{model}"
        assert {"git.commit", "git.dirty", "stage.fingerprint", "dataset.sha256", "environment.sha256"} < set(
            version.tags
        )
        assert version.description == (smoke.root / "models" / model / "model_card.md").read_text()


def test_a_moved_folder_serves_its_models_and_registers_nothing_twice(moved: Workspace) -> None:
    script = (
        "import mlflow, numpy as np, sys\n"
        "mlflow.set_tracking_uri('sqlite:///mlruns/mlflow.db')\n"
        "model = mlflow.pyfunc.load_model(sys.argv[1])\n"
        "golden = np.load('models/cnn/golden.npz')\n"
        "answer = model.predict(golden['in_images'])\n"
        "assert (answer['label'] == golden['out_label']).all()\n"
        "assert np.abs(answer['probabilities'] - golden['out_probabilities']).max() < 1e-5\n"
    )
    name = f"{metrics(moved)['dataset.name']}-cnn"
    done = moved.python("-c", script, f"models:/{name}@candidate")
    assert done.returncode == 0, done.stderr
    for _ in range(2):
        done = moved.run("deepdigits", "summary")
        assert done.returncode == 0, done.stderr
        assert f"{name} version 1" in done.stdout
    assert len(versions(moved, "cnn")) == 1


def test_weights_from_another_training_are_named_and_nothing_is_registered(moved: Workspace) -> None:
    before = {model: len(versions(moved, model)) for model in MODELS}
    path = moved.root / "models/cnn/model.safetensors"
    packaged_sha256, data = file_sha256(path), bytearray(path.read_bytes())
    data[-2] ^= 1
    path.unlink()  # the file may be a link into DVC's cache
    path.write_bytes(data)
    done = moved.run("deepdigits", "summary")
    message = " ".join(done.stderr.replace("│", " ").split())
    assert done.returncode == 1
    assert "reports/metrics/evaluate_cnn.json is not about these weights" in message
    assert packaged_sha256[:12] in message
    assert f"models/cnn/model.safetensors is {file_sha256(path)[:12]}" in message
    assert "Nothing was registered. Run: dvc repro" in message
    assert {model: len(versions(moved, model)) for model in MODELS} == before
    path.unlink()
    assert moved.run("dvc", "checkout").returncode == 0
    assert moved.run("deepdigits", "summary").returncode == 0


def test_a_store_that_never_saw_the_training_gets_a_restored_run(moved: Workspace) -> None:
    (moved.root / "mlruns").rename(moved.root.parent / "lost")
    assert moved.run("deepdigits", "summary").returncode == 0
    (version,) = versions(moved, "gan")
    run = store(moved).get_run(version.run_id)
    assert run.data.tags["restored"] == "true"
    epochs = json.loads((moved.root / "reports/metrics/train_gan.json").read_text())["gan.epochs"]
    assert len(store(moved).get_metric_history(version.run_id, "train/fool_rate")) == epochs


@pytest.mark.parametrize("model", ["cnn", "gan"])
def test_mlflow_serves_a_registered_model(model: str, smoke: Workspace) -> None:
    name = f"{metrics(smoke)['dataset.name']}-{model}"
    port = free_port()
    command = ["mlflow", "models", "serve", "-m", f"models:/{name}@candidate", "--env-manager", "local"]
    command += ["-p", str(port)]
    env = {**smoke.environment, "MLFLOW_TRACKING_URI": "sqlite:///mlruns/mlflow.db"}
    server = subprocess.Popen(command, cwd=smoke.root, env=env, start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/ping", server)
        if model == "cnn":
            golden = np.load(smoke.root / "models/cnn/golden.npz")
            answer = post(port, {"inputs": golden["in_images"][:3].tolist()})
            assert answer["label"] == golden["out_label"][:3].tolist()
            assert np.allclose(answer["probabilities"], golden["out_probabilities"][:3], atol=1e-5)
        else:
            columns = ["digit", "seed"]
            answer = post(port, {"dataframe_split": {"columns": columns, "data": [[3, 1], [3, 2], [3, 1]]}})
            images = np.array(answer["images"])
            assert images.shape == (3, 28, 28)
            assert (images[0] == images[2]).all()
            assert (images[0] != images[1]).any()
            with pytest.raises(urllib.error.HTTPError) as error:
                post(port, {"dataframe_split": {"columns": columns, "data": [[10, 1]]}})
            assert error.value.code == 400
            assert "digit must be 0 to 9, not 10" in error.value.read().decode()
    finally:
        subprocess.run(["kill", "--", f"-{server.pid}"], check=False)
        server.wait(30)


def post(port: int, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return dict(json.load(response)["predictions"])


def test_data_outside_its_bands_stops_the_pipeline_before_training(moved: Workspace) -> None:
    moved.edit_params("max_off_center_fraction: 0.001", "max_off_center_fraction: 0.002")
    file = Path(f"datasets/{metrics(moved)['dataset.name']}.yaml")
    band = read_yaml(moved.root / file)["bands"]["pixel_mean"]
    moved.edit(f"pixel_mean: {{high: {band['high']}, low: {band['low']}}}", "pixel_mean: {high: 2, low: 1}", file)
    done = moved.run("dvc", "repro")
    assert done.returncode != 0
    assert "the mean pixel of each split is in its band" in " ".join(done.stderr.replace("│", " ").split())
    assert "Running stage 'train" not in done.stdout
    assert "FAILED" in (moved.root / "reports/data_docs/index.html").read_text()


def test_a_blank_image_is_named_and_shown_and_nothing_trains_on_it(moved: Workspace) -> None:
    path = moved.root / "data/processed/train.npz"
    with np.load(path) as arrays:
        images, labels = arrays["images"].copy(), arrays["labels"]
    images[5] = 0
    path.unlink()  # the file may be a link into DVC's cache
    np.savez(path, images=images, labels=labels)
    done = moved.python("-m", "pipelines.validate")
    assert done.returncode == 1
    assert "train/5" in done.stderr
    assert "Traceback" not in done.stderr
    assert list((moved.root / "reports/data_docs").glob("failure_*.png"))
    assert {run.info.run_name: run.info.status for run in runs(moved)[:1]} == {"validate": "FAILED"}
    manual_training = moved.python("-m", "pipelines.train_cnn")
    assert manual_training.returncode == 1
    assert "the data failed validation" in manual_training.stderr


def test_wrong_box_is_named_and_nothing_trains_on_its_scenes(moved: Workspace) -> None:
    path = moved.root / "data/scenes/train.npz"
    scenes = load_scenes(path)
    boxes = scenes.boxes.copy()
    boxes[7, 0] -= 1
    path.unlink()  # the file may be a link into DVC's cache
    save_scenes(replace(scenes, boxes=boxes), path)
    done = moved.python("-m", "pipelines.validate_scenes")
    assert done.returncode == 1
    assert "every box is the tightest one around the digit's mask" in " ".join(done.stderr.replace("│", " ").split())
    assert f"train/{scenes.scene[7]}/" in done.stderr
    assert "Traceback" not in done.stderr
    assert list((moved.root / "reports/scene_docs").glob("failure_*.png"))
    manual_training = moved.python("-m", "pipelines.train_detector")
    assert manual_training.returncode == 1
    assert "the data failed validation" in manual_training.stderr


@pytest.mark.extended
def test_only_the_model_below_its_floor_is_refused_and_the_reason_is_given(moved: Workspace) -> None:
    shutil.rmtree(moved.root / "mlruns")
    moved.edit("min_coverage: 0.0", "min_coverage: 1.0", Path(f"datasets/{metrics(moved)['dataset.name']}.yaml"))
    done = moved.run("make", "repro", "STAMP=")
    assert done.returncode != 0
    output = " ".join((done.stdout + done.stderr).replace("│", " ").split())
    assert "gan is below a floor, so it is neither packaged nor registered: - coverage is" in output
    assert "must be >= 1.0" in output
    assert "refused: coverage is" in output  # from the summary
    assert "Running stage 'evaluate" not in done.stdout
    assert {name: len(versions(moved, name)) for name in MODELS} == {name: int(name != "gan") for name in MODELS}
    assert "FAILED" in (moved.root / "reports/index.html").read_text()
    assert moved.run("deepdigits", "summary").returncode == 3
    assert not versions(moved, "gan")


@pytest.mark.extended
def test_reverting_a_parameter_restores_outputs_without_retraining(moved: Workspace) -> None:
    """DVC's run cache restores outputs, registry and summary as they were, with no duplicates."""
    hashes, fakes = output_hashes(moved.root), [version.version for version in versions(moved, "fakes")]
    target = f"{HANDWRITING}:package@fakes"
    seed = read_yaml(moved.root / "params.yaml")["train_fakes"]["fit"]["seed"]
    moved.edit_params(f"seed: {seed}, steps_per_epoch: 40", f"seed: {seed + 1}, steps_per_epoch: 40")
    done = moved.run("dvc", "repro", target)
    assert done.returncode == 0, done.stderr
    assert output_hashes(moved.root) != hashes
    assert len(versions(moved, "fakes")) == len(fakes) + 1
    moved.edit_params(f"seed: {seed + 1}, steps_per_epoch: 40", f"seed: {seed}, steps_per_epoch: 40")
    trainings = sum(run.info.run_name == "train_fakes" for run in runs(moved))
    reverted = moved.run("dvc", "repro", target, f"{HANDWRITING}:report_handwriting")
    assert reverted.returncode == 0, reverted.stderr
    assert f"Stage '{HANDWRITING}:train_fakes' is cached" in reverted.stdout
    assert output_hashes(moved.root) == hashes
    assert sum(run.info.run_name == "train_fakes" for run in runs(moved)) == trainings
    summary = moved.run("deepdigits", "summary")
    assert summary.returncode == 0, summary.stderr
    assert len(versions(moved, "fakes")) == len(fakes) + 1
    name = f"{metrics(moved)['dataset.name']}-fakes"
    version = store(moved).get_model_version_by_alias(name, "candidate")
    assert version.version == fakes[0]
    assert store(moved).get_run(version.run_id).info.run_name == "train_fakes"
    assert moved.python("-m", "deepdigits", "check").returncode == 0


@pytest.mark.parametrize(("stop_signal", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_interrupted_training_keeps_earlier_outputs_and_explains_how_to_resume(
    stop_signal: signal.Signals, exit_code: int, moved: Workspace
) -> None:
    weights = moved.root / "models/rnn/model.safetensors"
    before = file_sha256(weights)
    command = [sys.executable, "-m", "pipelines.train_rnn"]
    code, output = run_and_signal(command, moved.root, moved.environment, MID_STAGE_FILES["train_rnn"], stop_signal)
    assert code == exit_code
    assert "Run `dvc repro` to resume" in output
    assert "dvc checkout" not in output  # DVC did not run, so it removed nothing
    assert "Traceback" not in output
    assert file_sha256(weights) == before
    assert runs(moved)[0].info.status == "KILLED"
    done = moved.run("dvc", "repro", "--force", "--single-item", "train_rnn")
    assert done.returncode == 0, done.stderr
    assert file_sha256(weights) == before, "resumed training must give the same bytes"


def test_unknown_parameter_gives_one_message(moved: Workspace) -> None:
    moved.edit_params("threads: 2", "thread: 2")
    done = moved.python("-m", "pipelines.evaluate", "cnn")
    assert done.returncode == 1
    assert "compute.thread: unknown key; did you mean threads?" in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


def test_plots_render(smoke: Workspace, tmp_path: Path) -> None:
    done = smoke.run("dvc", "plots", "show", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "index.html").read_text()
    for title in (
        "Accuracy by epoch",
        "Generator vs. discriminator",
        "CNN on the test images",
        "Loss by epoch, scenes",
    ):
        assert title in page
    for picture in ("gan/samples.png", "swap/table.png"):
        assert picture.replace("/", "_") in page or picture in page


def test_registry_contains_no_pickle(smoke: Workspace) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{smoke.root}/mlruns/mlflow.db")
    files = [path.name for path in (smoke.root / "mlruns/artifacts").rglob("*") if path.is_file()]
    assert "model.onnx" in files
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib"))]
