"""How a checkout and `make` behave on other people's machines: line endings, folder names, calling programs."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from deepdigits.ops.git import git
from tests.conftest import ROOT

IDENTITY = ("-c", "user.name=test", "-c", "user.email=test@example.org")


def test_a_checkout_has_the_same_bytes_when_git_converts_line_endings(tmp_path: Path) -> None:
    names = (".gitattributes", ".gitignore", "Makefile", "dvc.yaml", "docs/results.png", "src/deepdigits/ops/git.py")
    for name in names:
        (tmp_path / "one" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "one" / name)
    git(tmp_path / "one", "init", "--quiet")
    git(tmp_path / "one", "add", "--all")
    git(tmp_path / "one", *IDENTITY, "commit", "--quiet", "--message", "one")
    git(tmp_path, "clone", "--quiet", "-c", "core.autocrlf=true", "-c", "core.eol=crlf", "one", "two")
    for name in names:
        assert (tmp_path / "two" / name).read_bytes() == (ROOT / name).read_bytes(), name


def test_files_left_by_tools_do_not_make_the_tree_dirty(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    shutil.copy(ROOT / ".gitignore", tmp_path / ".gitignore")
    git(tmp_path, "add", "--all")
    leftovers = ("dvc_plots/index.html", "mlruns/mlflow.db", "build/smoke/x", ".cache/downloads/x", ".venv/bin/python")
    for name in (*leftovers, "models/cnn/model.onnx", "reports/index.html", "src/__pycache__/x.pyc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert git(tmp_path, "status", "--porcelain") == b"A  .gitignore\n"


def make(folder: Path, *arguments: str, **environment: str) -> dict[str, str]:
    """The environment that the recipes of the Makefile see, printed by a target of our own."""
    folder.mkdir(exist_ok=True)
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "show.mk").write_text("include Makefile\nshow:\n\t@printf 'STAMP=%s\\0' '$(STAMP)'; env -0\n")
    others = ("MNIST_MIRROR", "HOME", "LOGNAME")
    kept = {key: value for key, value in os.environ.items() if key not in others and not key.startswith("MAKE")}
    command = ["make", "--no-print-directory", "--file", "show.mk", "show", *arguments]
    done = subprocess.run(command, cwd=folder, env={**kept, **environment}, capture_output=True, check=True)
    return dict(entry.split("=", 1) for entry in done.stdout.decode().split("\0") if entry)


def test_the_environment_is_rebuilt_after_the_folder_moves(tmp_path: Path) -> None:
    """Its programs contain the path of the folder in which they were installed."""
    before = make(tmp_path / "before")["STAMP"]
    assert make(tmp_path / "before")["STAMP"] == before
    assert make(tmp_path / "after")["STAMP"] != before


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("mirror", "{root}/mirror"),
        ("my mirror", "{root}/my mirror"),
        ("{root}/my mirror", "{root}/my mirror"),
        ("~/my mirror", "{root}/my mirror"),
        ("it's $here (2)", "{root}/it's $here (2)"),
        ("https://example.org/a?b=1,2", "https://example.org/a?b=1,2"),
        ("not there", "not there"),
    ],
)
@pytest.mark.parametrize("by", ["environment", "argument"])
def test_a_mirror_may_have_any_name(given: str, expected: str, by: str, tmp_path: Path) -> None:
    given, expected = (text.format(root=tmp_path) for text in (given, expected))
    for name in ("mirror", "my mirror", "it's $here (2)"):
        (tmp_path / name).mkdir()
    if by == "argument":
        seen = make(tmp_path, f"MNIST_MIRROR={given}", HOME=str(tmp_path))
    else:
        seen = make(tmp_path, MNIST_MIRROR=given, HOME=str(tmp_path))
    assert seen["MNIST_MIRROR"] == expected


def test_make_ignores_the_repository_variables_of_a_git_hook(tmp_path: Path) -> None:
    seen = make(tmp_path, GIT_DIR="/x", GIT_INDEX_FILE="/x/index", GIT_QUARANTINE_PATH="/x", GIT_SSH_COMMAND="ssh")
    assert {key for key in seen if key.startswith("GIT_")} - set(os.environ) == {"GIT_SSH_COMMAND"}


def test_make_provides_a_name_and_a_home_for_a_user_without_them(tmp_path: Path) -> None:
    seen = make(tmp_path)
    assert seen["LOGNAME"]
    assert seen["HOME"] == str(tmp_path / ".cache/home")
    seen = make(tmp_path, LOGNAME="me", HOME="/home/me")
    assert (seen["LOGNAME"], seen["HOME"]) == ("me", "/home/me")
