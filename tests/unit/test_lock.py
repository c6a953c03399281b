"""The committed dvc.lock and metrics are those of this very code and these parameters."""

import hashlib
from typing import Any

import pytest

from deepdigits.config.loading import read_yaml
from tests.conftest import ROOT

STAGES = read_yaml(ROOT / "dvc.yaml")["stages"]
LOCK = read_yaml(ROOT / "dvc.lock")["stages"]
PARAMS = read_yaml(ROOT / "params.yaml")


def md5(path: str) -> str:
    return hashlib.md5((ROOT / path).read_bytes(), usedforsecurity=False).hexdigest()


def value(key: str) -> Any:
    place: Any = PARAMS
    for part in key.split("."):
        place = place[part]
    return place


@pytest.mark.parametrize("stage", STAGES)
def test_the_lock_is_of_this_code_and_these_params(stage: str) -> None:
    locked = LOCK[stage]
    assert locked["cmd"] == STAGES[stage]["cmd"]
    code = {dep["path"]: dep["md5"] for dep in locked["deps"] if dep["path"].startswith(("src/", "pipelines/"))}
    assert code == {path: md5(path) for path in code}
    assert {dep["path"] for dep in locked["deps"]} == set(STAGES[stage]["deps"])
    assert locked["params"]["params.yaml"] == {key: value(key) for key in STAGES[stage]["params"]}


def test_stages_hand_on_what_they_made() -> None:
    made = {out["path"]: out["md5"] for stage in LOCK.values() for out in stage["outs"]}
    for stage in LOCK.values():
        for dep in stage["deps"]:
            assert made.get(dep["path"], dep["md5"]) == dep["md5"]


def test_the_committed_metrics_are_the_ones_of_the_lock() -> None:
    reported = [out for stage in LOCK.values() for out in stage["outs"] if out["path"].startswith("reports/metrics/")]
    assert len(reported) == 5
    for out in reported:
        assert md5(out["path"]) == out["md5"]
