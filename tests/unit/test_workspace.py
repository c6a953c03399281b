"""The second working copy, with real git: it is brought up to date, and nobody's commits are touched."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import pytest

from deepdigits.core.errors import UserError
from deepdigits.ops.git import git
from deepdigits.ops.lineage import generated_files, git_state
from deepdigits.release.workspace import prepare
from tests.conftest import ROOT

IDENTITY = ("-c", "user.name=test", "-c", "user.email=test@example.org")


def commit(repository: Path, message: str) -> str:
    git(repository, "add", "--all")
    git(repository, *IDENTITY, "commit", "--quiet", "--message", message)
    return head(repository)


def head(repository: Path) -> str:
    return git(repository, "rev-parse", "HEAD").decode().strip()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "profiles").mkdir(parents=True)
    (root / "datasets").mkdir()
    for name in ("params.yaml", "profiles/smoke.yaml", "datasets/mnist.yaml", "datasets/digits.yaml"):
        shutil.copy(ROOT / name, root / name)
    (root / ".gitignore").write_text("/build/\n")
    (root / "code.py").write_text("one")
    git(root, "init", "--quiet")
    commit(root, "one")
    return root


def test_generated_params_do_not_make_a_copy_differ_from_its_commit(source: Path) -> None:
    target = source / "build/smoke"
    prepare(source, target, "smoke")
    with chdir(target):
        assert git_state() == (head(source), False)
        with (target / "params.yaml").open("a") as file:
            file.write("# edited\n")
        assert git_state() == (head(source), True)
    prepare(source, target, "smoke")
    with (source / "params.yaml").open("a") as file:
        file.write("# edited, not committed\n")
    prepare(source, target, "smoke")
    with chdir(target):
        assert git_state() == (head(source), True)
        assert generated_files(target) == []


def test_a_copy_follows_its_source_and_keeps_its_outputs(source: Path) -> None:
    target = source / "build/smoke"
    prepare(source, target, "smoke")
    (target / "dvc.lock").write_text("made here")
    (source / "code.py").write_text("two")
    (source / "new.py").write_text("not committed")
    commit(source, "two")
    (source / "profiles/own.yaml").touch()
    (source / "code.py").unlink()
    prepare(source, target, "smoke")
    assert head(target) == head(source)
    assert (target / "new.py").is_file()
    assert (target / "profiles/own.yaml").is_file()
    assert not (target / "code.py").exists()
    assert (target / "dvc.lock").read_text() == "made here"
    assert "Generated" in (target / "params.yaml").read_text()


def run_in_hook(worktree: Path, hook: str, *trigger: str) -> subprocess.CompletedProcess[str]:
    """Have git itself call `deepdigits workspace` from a hook of `worktree`."""
    hooks = Path(os.fsdecode(git(worktree, "rev-parse", "--path-format=absolute", "--git-path", "hooks")).strip())
    hooks.mkdir(exist_ok=True)
    (hooks / hook).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m deepdigits workspace smoke build/smoke\n')
    (hooks / hook).chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        ["git", *IDENTITY, *trigger], cwd=worktree, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("hook", ["pre-commit", "post-commit"])
def test_no_commit_is_lost_in_a_hook_of_a_linked_worktree(hook: str, source: Path, tmp_path: Path) -> None:
    """Git sets GIT_DIR and GIT_INDEX_FILE there. The copy already exists, and the branch is ahead of it."""
    user = tmp_path / "user"
    git(source, "worktree", "add", "--quiet", "-b", "work", str(user))
    prepare(user, user / "build/smoke", "smoke")
    (user / "code.py").write_text("two")
    done = run_in_hook(user, hook, "commit", "--quiet", "--all", "--message", "two")
    assert done.returncode == 0, done.stderr
    assert git(user, "log", "-1", "--format=%s") == b"two\n"
    assert b"FETCH_HEAD" not in git(user, "reflog")
    assert git(user, "status", "--porcelain") == b""
    assert (user / "build/smoke/code.py").read_text() == "two"


def test_no_commit_is_lost_when_git_variables_are_set(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for an alias in a linked worktree of a clone of a bare repository."""
    user, main = tmp_path / "user", tmp_path / "main"
    git(tmp_path, "clone", "--quiet", "--bare", str(source), "bare")
    git(tmp_path, "clone", "--quiet", "bare", "main")
    git(main, "worktree", "add", "--quiet", "-b", "work", str(user))
    (user / "code.py").write_text("two")
    mine = commit(user, "two")
    monkeypatch.setenv("GIT_DIR", git(user, "rev-parse", "--absolute-git-dir").decode().strip())
    for _ in range(2):
        prepare(user, user / "build/smoke", "smoke")
    monkeypatch.delenv("GIT_DIR")
    assert head(user) == head(user / "build/smoke") == mine
    assert b"FETCH_HEAD" not in git(user, "reflog")


def damaged(folder: Path) -> None:
    """Git does not recognize this as a repository and searches further up, where the user's own is."""
    (folder / ".git").mkdir(parents=True)


def someone_elses(folder: Path) -> None:
    git(folder.parent, "init", "--quiet", str(folder))
    (folder / "work.txt").write_text("mine")
    commit(folder, "mine")


def a_worktree_of_the_source(folder: Path) -> None:
    git(folder.parents[1], "worktree", "add", "--quiet", "-b", "work", str(folder))


@pytest.mark.parametrize("make", [damaged, someone_elses, a_worktree_of_the_source])
def test_a_repository_that_we_did_not_make_is_refused(make: Callable[[Path], None], source: Path) -> None:
    target = source / "build/smoke"
    (source / "build").mkdir()
    make(target)
    before = head(source), head(target), sorted(target.rglob("*"))
    with pytest.raises(UserError, match="did not make"):
        prepare(source, target, "smoke")
    assert (head(source), head(target), sorted(target.rglob("*"))) == before


def test_the_repository_itself_is_refused(source: Path) -> None:
    with pytest.raises(UserError, match="did not make"):
        prepare(source, source, "smoke")
    assert git(source, "status", "--porcelain") == b""


def test_a_copy_damaged_later_does_not_affect_the_enclosing_repository(source: Path) -> None:
    target = source / "build/smoke"
    prepare(source, target, "smoke")
    first = head(source)
    (source / "code.py").write_text("two")
    commit(source, "two")
    (target / ".git/HEAD").unlink()
    with pytest.raises(UserError):
        prepare(source, target, "smoke")
    assert head(source) != first
    assert b"reset:" not in git(source, "reflog")


def test_commits_made_in_the_copy_are_kept(source: Path) -> None:
    target = source / "build/smoke"
    prepare(source, target, "smoke")
    mine = commit(target, "What the pipeline made")
    prepare(source, target, "smoke")
    assert head(target) == head(source)
    assert git(target, "rev-parse", f"kept-{mine[:12]}").decode().strip() == mine


def test_the_copy_of_a_shallow_clone_is_updated(source: Path, tmp_path: Path) -> None:
    (source / "code.py").write_text("two")
    commit(source, "two")
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth", "1", source.as_uri(), str(shallow))
    prepare(shallow, shallow / "build/smoke", "smoke")
    (source / "code.py").write_text("three")
    commit(source, "three")
    git(shallow, "fetch", "--quiet", "--depth", "1")
    git(shallow, "reset", "--quiet", "--hard", "FETCH_HEAD")
    for _ in range(2):
        prepare(shallow, shallow / "build/smoke", "smoke")
    assert head(shallow / "build/smoke") == head(shallow) == head(source)
    assert (shallow / "build/smoke/code.py").read_text() == "three"


def test_the_copy_of_a_moved_repository_is_updated(source: Path, tmp_path: Path) -> None:
    prepare(source, source / "build/smoke", "smoke")
    moved = source.rename(tmp_path / "moved: here")
    (moved / "code.py").write_text("two")
    commit(moved, "two")
    prepare(moved, moved / "build/smoke", "smoke")
    assert head(moved / "build/smoke") == head(moved)


def test_file_names_may_be_anything(source: Path) -> None:
    names = (b"caf\xe9.txt", "größe.txt".encode(), b"two\nlines.txt", b"- a.txt", b'a "b".txt')
    for name in names:
        (source / os.fsdecode(name)).write_text("x")
    for _ in range(2):
        prepare(source, source / "build/smoke", "smoke")
    for name in names:
        assert (source / "build/smoke" / os.fsdecode(name)).read_text() == "x"
        (source / os.fsdecode(name)).unlink()
    prepare(source, source / "build/smoke", "smoke")
    assert not list((source / "build/smoke").glob("*.txt"))
