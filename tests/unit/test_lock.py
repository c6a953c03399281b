"""The committed dvc.lock matches this tree; a mismatch anywhere is reported, with the stage and what differs."""

import shutil
from pathlib import Path

import pytest
import torch

from deepdigits.core.environment import describe_environment
from deepdigits.core.errors import UserError
from deepdigits.core.files import write_json
from deepdigits.release.lockcheck import check_lock, other_environment
from tests.conftest import ROOT


def test_the_committed_lock_matches_the_tree() -> None:
    assert check_lock(ROOT) == []


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("src", "pipelines", "reports/metrics", "datasets"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "dvc.lock", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("src/deepdigits/tasks/cnn/network.py", "", "#\n",
         "train_cnn: src/deepdigits/tasks/cnn/network.py has changed since it last ran."),
        ("src/deepdigits/nn/blocks.py", "", "#\n", "train_cnn: src/deepdigits/nn has changed since it last ran."),
        ("src/deepdigits/tasks/swap/network.py", "", "#\n",
         "package@swap: src/deepdigits/tasks/swap has changed since it last ran."),
        ("params.yaml", "max_learning_rate: 0.003", "max_learning_rate: 0.004",
         "train_rnn: train_rnn.fit.max_learning_rate was 0.003 and is now 0.004."),
        ("dvc.yaml", "cmd: ${python} -m pipelines.ingest", "cmd: ${python} -m pipelines.ingest --all",
         "ingest: its command has changed; it was 'env PATH=\"$DVC_ROOT/.venv/bin:$PATH\" "
         "PYTHONPATH=\"src:$PYTHONPATH\" python -m pipelines.ingest'."),
        ("dvc.yaml", "models/gan/discriminator.json, reports/figures/gan_progress,", "models/gan/discriminator.json,",
         "train_gan: wrote reports/figures/gan_progress when it last ran, but it is no longer an out."),
        ("dvc.yaml", "matrix: {model: [cnn, ", "matrix: {model: [",
         "evaluate@cnn: is in dvc.lock but not in dvc.yaml."),
        ("reports/metrics/evaluate_cnn.json", '"cnn.test.accuracy": 0.99', '"cnn.test.accuracy": 1.00',
         "evaluate@cnn: reports/metrics/evaluate_cnn.json is not the file that it wrote."),
        ("pipelines/scenes/dvc.lock", "  compose:\n", "  composed:\n",
         "compose: has never run; pipelines/scenes/dvc.lock has no entry for it."),
        ("dvc.lock", "  train_cnn:\n", "  train_old:\n", "train_cnn: has never run; dvc.lock has no entry for it."),
    ],
)  # fmt: skip
def test_a_mismatch_with_the_lock_is_reported(tree: Path, file: str, old: str, new: str, expected: str) -> None:
    path = tree / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1) if old else text + new)
    assert expected in check_lock(tree)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stages: {a: {cmd: x, outs: [{path: y}]}}", "stages.a.outs.0.md5: is missing"),
        ("stages: {a: {outs: []}}", "stages.a.cmd: is missing"),
        ("stages: {a: {cmd: x, deps: y}}", "stages.a.deps = "),
        ("stages: {a: x}", "stages.a = "),
        ("stages: [a]", "stages = "),
        ("schema: '2.0'", "stages: is missing"),
        ("stages: {a: {cmd: 2026-01-01}}", "only text, numbers"),
        ("<<<<<<< HEAD\nstages: {}", "is not valid YAML"),
        ("stages: {a: [}", "is not valid YAML"),
        ("- a", "must contain a mapping"),
        ("", "must contain a mapping"),
    ],
)
def test_an_invalid_lock_is_reported_with_what_is_wrong(text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text("stages: {}")
    (tmp_path / "params.yaml").write_text("{}")
    (tmp_path / "dvc.lock").write_text(text)
    with pytest.raises(UserError) as caught:
        check_lock(tmp_path)
    assert expected in str(caught.value)
    assert "git checkout dvc.lock" in str(caught.value)


def test_an_invalid_pipeline_is_reported_with_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text("stages: {a: {deps: [x], params: [], outs: [{}]}}")
    (tmp_path / "params.yaml").write_text("{}")
    with pytest.raises(UserError, match=r"(?s)stages.a.cmd: is missing.*stages.a.outs.0"):
        check_lock(tmp_path)


def test_a_stage_that_read_a_different_file_is_reported(tree: Path) -> None:
    """The out of one stage and the dep of the next no longer agree."""
    text = (tree / "dvc.lock").read_text()
    place = text.index("path: models/cnn/model.safetensors", text.index("  evaluate@cnn:"))
    start = text.index("md5: ", text.index("hash: md5", place)) + len("md5: ")
    (tree / "dvc.lock").write_text(text[:start] + "a" * 32 + text[start + 32 :])
    assert "evaluate@cnn: read a different models/cnn/model.safetensors than dvc.lock now records." in check_lock(tree)


def test_a_lock_made_in_another_environment_is_reported(tmp_path: Path) -> None:
    (tmp_path / "requirements.lock").write_text("torch==2.13.0\n")
    current = describe_environment(tmp_path) | {"cpu": torch.backends.cpu.get_cpu_capability()}
    write_json(tmp_path / "reports/metrics/train_cnn.json", {f"cnn.environment.{key}": current[key] for key in current})
    assert other_environment(tmp_path) == []
    other = {**current, "cpu": "AVX9", "torch": "2.13.0+cu130"}
    for model in ("gan", "rnn"):
        write_json(
            tmp_path / f"reports/metrics/train_{model}.json",
            {f"{model}.environment.{key}": other[key] for key in other},
        )
    warnings = other_environment(tmp_path)
    assert len(warnings) == 2
    assert all(text.startswith("gan, rnn: ") for text in warnings)
    assert any("AVX9" in text for text in warnings)
    assert any("2.13.0+cu130" in text for text in warnings)
