"""The main pipeline on a folder of pictures in many formats, from `dataset add` to a promoted version."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image

from deepdigits.core.files import read_json
from deepdigits.data.digits.splits import Split
from tests.pipeline.conftest import Workspace, commit

NAMES = {0: "ring shape", 1: "Strich", 7: "седем"}  # names with a space, and in other scripts
FORMATS = (("png", "L"), ("jpg", "RGB"), ("bmp", "L"), ("webp", "RGB"), ("tif", "CMYK"), ("png", "P"), ("gif", "P"))


def pictures_of(split: Split, folder: Path) -> None:
    """Write digits as pictures of mixed formats, modes and sizes, in class folders."""
    for row in np.flatnonzero(np.isin(split.labels, list(NAMES))):
        suffix, mode = FORMATS[row % len(FORMATS)]
        side = int(28 + 7 * (row % 5))
        picture = Image.fromarray(split.images[row]).resize((side, side)).convert("RGB").convert(mode)
        path = folder / NAMES[int(split.labels[row])] / f"{row}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        picture.save(buffer, {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper()))
        path.write_bytes(buffer.getvalue())


@pytest.fixture(scope="module")
def shapes(smoke: Workspace, digits: tuple[Split, Split], tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A clone in which the pipeline has run on the pictures."""
    folder = tmp_path_factory.mktemp("own data")
    pictures_of(digits[0], folder / "pictures")
    base = smoke.copy(folder / "clone")
    added = base.run("deepdigits", "dataset", "add", "shapes", "--from", str(folder / "pictures"))
    assert added.returncode == 0, added.stderr
    assert "3 classes" in added.stdout
    assert base.run("git", "checkout", "--", "params.yaml").returncode == 0
    base.edit("glyphs: false", "glyphs: true", Path("datasets/shapes.yaml"))
    commit(base, "Data of one's own")
    made = base.run("deepdigits", "workspace", "smoke", "build/shapes", "--dataset", "shapes")
    assert made.returncode == 0, made.stderr
    workspace = replace(base, root=base.root / "build/shapes")
    done = workspace.run("dvc", "repro", "--keep-going")
    assert done.returncode == 0, done.stdout + done.stderr
    return workspace


def test_the_pipeline_runs_on_a_folder_of_pictures(shapes: Workspace) -> None:
    manifest = read_json(shapes.root / "data/processed/manifest.json")
    assert (manifest["name"], manifest["classes"]) == ("shapes", sorted(NAMES.values()))
    found = read_json(shapes.root / "reports/metrics/evaluate_cnn.json")
    assert found["cnn.test.accuracy"] > 0.9
    assert found["cnn.test.roc_auc"] > 0.95
    assert found["cnn.test.baseline_accuracy"] < 0.45
    assert "седем" in (shapes.root / "reports/figures/cnn/predictions.csv").read_text()
    card = (shapes.root / "models/cnn/model_card.md").read_text()
    assert "0 Strich, 1 ring shape, 2 седем" in card
    assert "None are declared." in card
    assert "not declared" in (shapes.root / "reports/index.html").read_text()


def test_its_versions_are_promoted_under_its_name(shapes: Workspace) -> None:
    done = shapes.run("deepdigits", "promote", "shapes-cnn")
    assert done.returncode == 0, done.stdout + done.stderr
    client = MlflowClient(f"sqlite:///{shapes.root}/mlruns/mlflow.db")
    assert {model.name for model in client.search_registered_models()} == {"shapes-cnn", "shapes-rnn", "shapes-gan"}
    assert client.get_model_version_by_alias("shapes-cnn", "champion").version == 1


def test_its_versions_lead_back_to_a_commit(shapes: Workspace) -> None:
    done = shapes.run("deepdigits", "verify", "shapes-cnn", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = {check["question"]: check["detail"] for check in json.loads(done.stdout)}
    assert found["a dvc.lock names this file"] == "models/cnn/model.onnx of this working copy, dvc.lock"
    assert found["it was made from a clean tree"] == "nothing but the commit"


@pytest.mark.extended
def test_its_versions_can_be_rebuilt(shapes: Workspace) -> None:
    done = replace(shapes, launchers=None).run("deepdigits", "verify", "shapes-cnn", "--rebuild", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    rebuilt = json.loads(done.stdout[done.stdout.index("[\n") :])[-1]
    assert "outputs in dvc.lock are the same" in rebuilt["detail"]


@pytest.mark.extended
def test_scenes_and_handwriting_run_on_glyphs(shapes: Workspace) -> None:
    done = shapes.run("dvc", "repro", "--keep-going", "--all-pipelines")
    assert done.returncode == 0, done.stdout + done.stderr
    found = read_json(shapes.root / "reports/metrics/evaluate_detector.json")
    assert {key for key in found if key.startswith("detector.test.ap.")} == {f"detector.test.ap.{n}" for n in range(3)}
    for kind in ("detector", "segmenter", "swap", "fakes"):
        assert "None are declared." in (shapes.root / f"models/{kind}/model_card.md").read_text()


def test_changed_data_are_refused_with_the_command_that_shows_the_change(shapes: Workspace) -> None:
    pictures = shapes.root.parents[2] / "pictures"
    (extra := pictures / "Strich/extra.png").write_bytes((pictures / "Strich/1.jpg").read_bytes())
    try:
        done = shapes.run("dvc", "repro", "--force", "--single-item", "ingest")
        assert done.returncode != 0
        assert "deepdigits dataset check shapes" in " ".join(done.stderr.replace("│", " ").split())
        checked = replace(shapes, root=shapes.root.parents[1]).run("deepdigits", "dataset", "check", "shapes")
        assert checked.returncode == 1
        message = " ".join(checked.stderr.replace("│", " ").split())
        assert "appears more than once" in message
        assert "the content has changed" in message
    finally:
        extra.unlink()
        shapes.run("dvc", "checkout", "--force", "ingest")
