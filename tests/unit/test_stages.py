"""dvc.yaml tells the truth: each stage declares exactly the files it imports and the params it reads."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from deepdigits.core.loading import read_yaml
from deepdigits.release.closure import import_closure, params_read, stage_modules
from deepdigits.release.params import Params
from deepdigits.tasks.catalogue import TASKS
from tests.conftest import ROOT

PIPELINE = read_yaml(ROOT / "dvc.yaml")
STAGES = PIPELINE["stages"]
ALIASES = {name: field.alias for name, field in Params.model_fields.items() if field.alias}
CODE = ("src/", "pipelines/")


TRAININGS = ["train_cnn", "train_rnn", "train_gan", "train_detector", "train_segmenter", "train_swap", "train_fakes"]
EVALUATIONS = ["evaluate", "evaluate_detector", "evaluate_segmenter", "evaluate_swap", "evaluate_fakes"]


def test_the_stages_are_there_in_order() -> None:
    made = ["ingest", "validate", "compose", "validate_scenes"]
    assert list(STAGES) == [*made, *TRAININGS, *EVALUATIONS, "package"]


@pytest.mark.parametrize("stage", STAGES)
def test_declared_code_is_what_the_stage_imports(stage: str) -> None:
    declared = {dep for dep in STAGES[stage]["deps"] if dep.startswith(CODE)}
    assert declared == import_closure(stage_modules(STAGES[stage]["cmd"], ROOT), ROOT)


@pytest.mark.parametrize("stage", STAGES)
def test_declared_params_are_what_the_stage_reads(stage: str) -> None:
    (module, *_) = stage_modules(STAGES[stage]["cmd"], ROOT)
    assert set(STAGES[stage]["params"]) == params_read(module, ALIASES)


@pytest.mark.parametrize("stage", STAGES)
def test_declared_data_are_outs_of_earlier_stages(stage: str) -> None:
    earlier = list(STAGES)[: list(STAGES).index(stage)]
    made = {out for name in earlier for out in outs_of(name)}
    assert {dep for dep in STAGES[stage]["deps"] if not dep.startswith(CODE)} <= made


@pytest.mark.parametrize("stage", [*TRAININGS, *EVALUATIONS, "compose", "package"])
def test_nothing_runs_after_a_failed_validation(stage: str) -> None:
    scenes = "data/scenes/manifest.json" in STAGES[stage]["deps"]
    assert f"reports/metrics/validate{'_scenes' * scenes}.json" in STAGES[stage]["deps"]


@pytest.mark.parametrize("stage", STAGES)
def test_only_evaluations_and_the_data_stages_see_test_data(stage: str) -> None:
    seen = {"data/processed/test.npz", "data/scenes/test.npz", "data/scenes/stress.npz"} & set(STAGES[stage]["deps"])
    assert bool(seen) == (stage in ("validate", "compose", "validate_scenes", *EVALUATIONS))


def test_make_promote_has_judges_before_what_they_judge() -> None:
    command = ["make", "--silent", "--directory", str(ROOT), "--eval", "models: ; @echo $(MODELS)", "models"]
    order = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert set(order) == set(TASKS)
    assert all(order.index(judge) < order.index(name) for name, task in TASKS.items() for judge in task.judges)


def test_every_stage_describes_itself() -> None:
    assert all(len(STAGES[stage]["desc"]) > 20 for stage in STAGES)


def test_every_out_stays_where_its_stage_cannot_start() -> None:
    for stage in STAGES.values():
        for entry in [*stage.get("outs", []), *stage.get("metrics", [])]:
            assert isinstance(entry, dict), entry
            assert all(options["persist"] for options in entry.values()), entry


def test_a_stage_finds_the_python_of_the_environment_without_activation(tmp_path: Path) -> None:
    """On systems that have no `python`, as Debian; and what was made before stays where there is none at all."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/env").symlink_to(str(shutil.which("env")))
    (tmp_path / "a clone/.venv/bin").mkdir(parents=True)
    (tmp_path / "a clone/.venv/bin/python").symlink_to(sys.executable)
    (tmp_path / "a clone/src").mkdir()
    (tmp_path / "a clone/src/own.py").write_text("from pathlib import Path; Path('made').mkdir(exist_ok=True)")
    stage = {"cmd": "${python} -m own", "outs": [{"made": {"persist": True}}]}
    YAML().dump({"vars": PIPELINE["vars"], "stages": {"own": stage}}, tmp_path / "a clone/dvc.yaml")

    def dvc(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PATH": str(tmp_path / "bin"), "SHELL": "/bin/sh", "PYTHONPATH": ""}
        command = [sys.executable, "-m", "dvc", *arguments]
        return subprocess.run(
            command, cwd=tmp_path / "a clone", env=environment, capture_output=True, text=True, check=False
        )

    dvc("init", "--no-scm")
    done = dvc("repro")
    assert done.returncode == 0, done.stderr
    (tmp_path / "a clone/.venv/bin/python").unlink()
    assert dvc("repro", "--force").returncode != 0
    assert (tmp_path / "a clone/made").is_dir()


def test_the_closure_sees_what_it_must(tmp_path: Path) -> None:
    """The checks above can fail: a lazy import and a whole `params` are found."""
    module = ROOT / "pipelines" / "train_gan.py"
    assert "src/deepdigits/tasks/gan/metrics.py" in import_closure([module], ROOT)
    assert "src/deepdigits/tasks/cnn/network.py" not in import_closure([module], ROOT)
    lazy = tmp_path / "lazy.py"
    lazy.write_text(
        "def f(params):\n    from deepdigits.release.floors import Rules\n    return params.a.b, params.a.b.c, Rules\n"
    )
    assert params_read(lazy, {}) == {"a.b"}
    lazy.write_text("def f(params):\n    return g(params)\n")
    with pytest.raises(ValueError, match="handed on whole"):
        params_read(lazy, {})


def outs_of(stage: str) -> list[str]:
    entries = [*STAGES[stage].get("outs", []), *STAGES[stage].get("metrics", [])]
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]
