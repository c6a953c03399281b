"""A registered version is traceable to its commit, data and parameters, and can be rebuilt."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from deepdigits.core.errors import UserError
from deepdigits.core.files import read_json
from deepdigits.core.loading import read_yaml
from deepdigits.ops.tracking import open_store
from deepdigits.serving.champions import load
from tests.pipeline.conftest import Workspace
from tests.pipeline.registry import run_cli


def test_verify_reports_passed_and_failed_checks(cnn: str) -> None:
    done = run_cli("verify", f"{cnn}/1", "--json")
    checks = {check["question"]: check for check in json.loads(done.stdout)}
    assert all(check["passed"] for check in checks.values()), checks
    assert done.exit_code == 0
    assert "of this commit" in checks["a dvc.lock names this file"]["detail"]
    worse = run_cli("verify", f"{cnn}/2", "--json")
    failures = [check["question"] for check in json.loads(worse.stdout) if not check["passed"]]
    assert worse.exit_code == 3
    assert "a dvc.lock names this file" in failures


@pytest.mark.parametrize("name", ["model.onnx", "model.json", "golden.npz", "model_card.md", "classifier.py"])
def test_flipped_byte_in_a_version_is_detected_by_verify_promote_and_serve(name: str, cnn: str, tmp_path: Path) -> None:
    for path in Path("mlruns/artifacts").rglob(name):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    for arguments in (["verify", f"{cnn}/1"], ["promote", f"{cnn}/1", "--dry-run"]):
        done = run_cli(*arguments)
        assert done.exit_code == 2
        message = " ".join(done.output.replace("│", " ").split())
        assert f"{cnn} version 1: " in message
        assert f"{name} is " in message
        assert "not the one that was registered" in message
    with pytest.raises(UserError, match="not the one that was registered"):
        load(open_store(), cnn, 1, 1)


def test_verify_checks_weights_and_metrics_against_the_package(cnn: str) -> None:
    client = open_store()
    version = client.get_model_version(cnn, "1")
    weights = Path(client.get_run(version.run_id).info.artifact_uri) / "weights/model.safetensors"
    original = weights.read_bytes()
    weights.write_bytes(original[:-1] + bytes([original[-1] ^ 1]))
    assert failed_checks(cnn) == ["the weights in its training run reproduce its golden examples"]
    weights.write_bytes(original)
    client.set_model_version_tag(cnn, "1", "test/accuracy", "1")
    assert failed_checks(cnn) == ["its figures are those of its weights"]


def failed_checks(cnn: str) -> list[str]:
    done = run_cli("verify", f"{cnn}/1", "--json")
    return [check["question"] for check in json.loads(done.stdout) if not check["passed"]]


def test_verify_rebuilds_a_version_from_its_commit(smoke: Workspace) -> None:
    """Rerun the whole pipeline at another path, in processes of its own: every output has the same bytes."""
    name = f"{read_json(smoke.root / 'data/processed/manifest.json')['name']}-cnn"
    done = replace(smoke, launchers=None).run("deepdigits", "verify", name, "--rebuild", "--json")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    rebuilt = json.loads(done.stdout[done.stdout.index("[\n") :])[-1]
    outputs = [out for stage in read_yaml(smoke.root / "dvc.lock")["stages"].values() for out in stage["outs"]]
    assert f"and all {len(outputs)} outputs in dvc.lock are the same" in rebuilt["detail"]
    assert smoke.run("git", "worktree", "list").stdout.count("\n") == 1
