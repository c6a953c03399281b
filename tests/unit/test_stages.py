"""Each dvc.yaml is accurate: stages declare the code that they import, the params that they read, and nothing else."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest
from dvc.dependency import ParamsDependency
from dvc.repo import Repo
from ruamel.yaml import YAML

from deepdigits.core.loading import read_yaml
from deepdigits.data.described import Described, Expected
from deepdigits.ops.pipeline import keys_by_file, out_names, pipeline_files, read_stages
from deepdigits.release.floors import Judged
from deepdigits.release.lockcheck import content_md5
from deepdigits.release.params import Params
from deepdigits.tasks.catalogue import TASKS
from tests.conftest import ROOT
from tests.unit.declared import covering, modules_of, params_read

FILES = pipeline_files(ROOT)
STAGES = {name: stage for file in FILES for name, stage in read_stages(ROOT, file).items()}
# Stages of one matrix share a declaration, which covers what any of them imports.
BLOCKS = {
    (file, block): [stage for name, stage in read_stages(ROOT, file).items() if name.partition("@")[0] == block]
    for file in FILES
    for block in read_yaml(ROOT / file)["stages"]
}
ALIASES = {name: field.alias for name, field in Params.model_fields.items() if field.alias}
CODE = ("src/", "pipelines/")
TRAININGS = [f"train_{name}" for name in TASKS]
EVALUATIONS = [name for name in STAGES if name.startswith("evaluate")]


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("deepdigits", "pipelines", exclude_type_checking_imports=True, cache_dir=None)


def test_every_task_is_trained_evaluated_and_packaged() -> None:
    for task in TASKS:
        for verb in ("train", "evaluate", "package"):
            assert sum(name.replace("@", "_") == f"{verb}_{task}" for name in STAGES) == 1, (verb, task)


def test_stages_are_resolved_as_dvc_resolves_them() -> None:
    with Repo(str(ROOT)) as repo:
        stages = {stage.addressing.rpartition(":")[2]: stage for stage in repo.index.stages}
        assert stages.keys() == STAGES.keys()
        for name, stage in stages.items():
            assert stage.cmd == STAGES[name].cmd
            files = {dep.def_path: dep.params for dep in stage.deps if isinstance(dep, ParamsDependency)}
            assert files == keys_by_file(STAGES[name].params)
            declared = {os.path.relpath(dep.fs_path, ROOT) for dep in stage.deps if dep.def_path not in files}
            assert declared == set(STAGES[name].deps)
            outs = {os.path.relpath(out.fs_path, ROOT) for out in stage.outs}
            assert outs == {path for path, _ in out_names([*STAGES[name].outs, *STAGES[name].metrics])}


def test_the_hash_of_a_folder_matches_dvcs(tmp_path: Path) -> None:
    (tmp_path / "code/below").mkdir(parents=True)
    (tmp_path / "code/b.py").write_text("b")
    (tmp_path / "code/below/a.py").write_text("a")
    (tmp_path / "code/__pycache__").mkdir()
    (tmp_path / "code/__pycache__/b.pyc").write_text("compiled")
    (tmp_path / ".dvcignore").write_text((ROOT / ".dvcignore").read_text())
    (tmp_path / "dvc.yaml").write_text("stages: {one: {cmd: 'true', deps: [code]}}")
    run = [sys.executable, "-m", "dvc", "-q"]
    subprocess.run([*run, "init", "--no-scm", "-f"], cwd=tmp_path, check=True)
    (tmp_path / ".dvcignore").write_text((ROOT / ".dvcignore").read_text())
    subprocess.run([*run, "repro"], cwd=tmp_path, check=True)
    assert read_yaml(tmp_path / "dvc.lock")["stages"]["one"]["deps"][0]["md5"] == content_md5(tmp_path / "code")


@pytest.mark.parametrize(("file", "block"), BLOCKS)
def test_declared_code_matches_what_the_stage_imports(file: str, block: str, graph: grimp.ImportGraph) -> None:
    imported: set[str] = set()
    for stage in BLOCKS[file, block]:
        declared = [dep for dep in stage.deps if dep.startswith(CODE)]
        modules = modules_of(stage.cmd)
        needed = set(modules).union(*(graph.find_upstream_modules(module) for module in modules))
        # Tracking and reporting code determines no output, nor does the package's own __init__.
        needed = {module for module in needed if not module.startswith("deepdigits.ops") and module != "deepdigits"}
        assert not {module for module in needed if not covering(module, declared, ROOT)}
        imported |= {dep for module in needed for dep in covering(module, declared, ROOT)}
    surplus = {dep for stage in BLOCKS[file, block] for dep in stage.deps if dep.startswith(CODE)} - imported
    assert not surplus


@pytest.mark.parametrize("stage", STAGES)
def test_declared_params_match_what_the_stage_reads(stage: str) -> None:
    (module, *_) = modules_of(STAGES[stage].cmd)
    files = keys_by_file(STAGES[stage].params)
    assert set(files.pop("params.yaml")) == params_read(ROOT / f"{module.replace('.', '/')}.py", ALIASES)
    read = {"ingest": Described, "validate": Expected}.get(stage, Judged)
    assert all(set(keys) == set(read.model_fields) for keys in files.values())
    assert set(files) in (set(), {"datasets/mnist.yaml", "datasets/digits.yaml"})
    assert bool(files) == (stage.startswith(("ingest", "package", "report")) or stage == "validate")


def test_declared_data_are_produced_by_stages() -> None:
    produced = {path for stage in STAGES.values() for path, _ in out_names([*stage.outs, *stage.metrics])}
    for stage in STAGES.values():
        assert {dep for dep in stage.deps if not dep.startswith(CODE)} <= produced


@pytest.mark.parametrize("stage", [name for name in STAGES if name not in ("ingest", "validate", "validate_scenes")])
def test_nothing_runs_after_a_failed_validation(stage: str) -> None:
    scenes = "data/scenes/manifest.json" in STAGES[stage].deps
    assert f"reports/metrics/validate{'_scenes' * scenes}.json" in STAGES[stage].deps


@pytest.mark.parametrize("stage", STAGES)
def test_only_evaluations_and_data_stages_see_test_data(stage: str) -> None:
    seen = {"data/processed/test.npz", "data/scenes/test.npz", "data/scenes/stress.npz"} & set(STAGES[stage].deps)
    assert bool(seen) == (stage in ("validate", "compose", "validate_scenes", "compare", *EVALUATIONS))


def test_make_promote_lists_judges_before_the_models_they_judge() -> None:
    command = ["make", "--silent", "--directory", str(ROOT), "--eval", "list-models: ; @echo $(MODELS)", "list-models"]
    order = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert set(order) == set(TASKS)
    assert all(order.index(judge) < order.index(name) for name, task in TASKS.items() for judge in task.judges)


def test_every_stage_has_a_description() -> None:
    for file in FILES:
        assert all(len(stage["desc"]) > 20 for stage in read_yaml(ROOT / file)["stages"].values())


def test_no_out_is_persistent_so_that_dvc_remembers_runs() -> None:
    for stage in STAGES.values():
        for _, options in out_names([*stage.outs, *stage.metrics]):
            assert not options.get("persist")


def test_the_pipelines_stay_short() -> None:
    lines = {file: (ROOT / file).read_text().count("\n") for file in FILES}
    assert lines["dvc.yaml"] <= 250
    assert sum(lines.values()) <= 600


def test_a_stage_finds_the_environments_python_without_activation(tmp_path: Path) -> None:
    """For systems without a `python` command, such as Debian."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/env").symlink_to(str(shutil.which("env")))
    (tmp_path / "a clone/.venv/bin").mkdir(parents=True)
    (tmp_path / "a clone/.venv/bin/python").symlink_to(sys.executable)
    (tmp_path / "a clone/src").mkdir()
    (tmp_path / "a clone/src/own.py").write_text("from pathlib import Path; Path('made').mkdir(exist_ok=True)")
    stage = {"cmd": "${python} -m own", "outs": ["made"]}
    YAML().dump({"vars": read_yaml(ROOT / "dvc.yaml")["vars"], "stages": {"own": stage}}, tmp_path / "a clone/dvc.yaml")

    def dvc(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PATH": str(tmp_path / "bin"), "SHELL": "/bin/sh", "PYTHONPATH": ""}
        command = [sys.executable, "-m", "dvc", *arguments]
        return subprocess.run(
            command, cwd=tmp_path / "a clone", env=environment, capture_output=True, text=True, check=False
        )

    dvc("init", "--no-scm")
    done = dvc("repro")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a clone/made").is_dir()


def test_the_checks_detect_what_they_should(graph: grimp.ImportGraph, tmp_path: Path) -> None:
    """The checks above can fail: they find a lazy import, and `params` passed on as a whole."""
    upstream = graph.find_upstream_modules("pipelines.train_gan")
    assert "deepdigits.tasks.gan.metrics" in upstream
    assert "deepdigits.tasks.cnn.network" not in upstream
    assert "deepdigits.promotion.promote" in graph.find_upstream_modules("deepdigits.cli.registry")  # imported lazily
    assert covering("deepdigits.core.files", ["src/deepdigits/core"], ROOT) == ["src/deepdigits/core"]
    assert covering("deepdigits.nn.blocks", ["src/deepdigits/core", "src/deepdigits/nn/prediction.py"], ROOT) == []
    lazy = tmp_path / "lazy.py"
    lazy.write_text("def f(params):\n    return params.a.b, params.a.b.c\n")
    assert params_read(lazy, {}) == {"a.b"}
    lazy.write_text("def f(params):\n    return g(params)\n")
    with pytest.raises(ValueError, match="handed on whole"):
        params_read(lazy, {})
