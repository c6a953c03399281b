"""A registered version leads back to its commit, data and parameters, and can be made again."""

from __future__ import annotations

import json

from deepdigits.config.loading import read_yaml
from deepdigits.files import read_json
from tests.pipeline.conftest import Workspace
from tests.pipeline.registry import command


def test_verify_names_what_holds_and_what_does_not(cnn: str) -> None:
    done = command("verify", f"{cnn}/1", "--json")
    checks = {check["question"]: check for check in json.loads(done.stdout)}
    assert all(check["passed"] for check in checks.values()), checks
    assert done.exit_code == 0
    assert "of this commit" in checks["the file is the one that a commit's dvc.lock names"]["detail"]
    worse = command("verify", f"{cnn}/2", "--json")
    failed = [check["question"] for check in json.loads(worse.stdout) if not check["passed"]]
    assert worse.exit_code == 3
    assert "the file is the one that a commit's dvc.lock names" in failed


def test_verify_rebuilds_a_version_from_its_commit(smoke: Workspace) -> None:
    """The whole pipeline again, at another path: every output has the same bytes."""
    name = f"{read_json(smoke.root / 'data/processed/manifest.json')['name']}-cnn"
    done = smoke.run("deepdigits", "verify", name, "--rebuild", "--json")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    rebuilt = json.loads(done.stdout[done.stdout.index("[\n") :])[-1]
    outputs = [out for stage in read_yaml(smoke.root / "dvc.lock")["stages"].values() for out in stage["outs"]]
    assert f"and all {len(outputs)} outputs in dvc.lock are the same" in rebuilt["detail"]
    assert smoke.run("git", "worktree", "list").stdout.count("\n") == 1
