"""The commit that runs are tagged with, read by real git; where git does not tell it, that is said."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from deepdigits.ops.git import git
from deepdigits.ops.lineage import git_state

IDENTITY = ("-c", "user.name=test", "-c", "user.email=test@example.org")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "--quiet")
    (tmp_path / "code.py").write_text("pass")
    git(tmp_path, "add", "--all")
    git(tmp_path, *IDENTITY, "commit", "--quiet", "--message", "one")
    return tmp_path


def head(repository: Path) -> str:
    return git(repository, "rev-parse", "HEAD").decode().strip()


def test_the_state_is_that_of_the_working_directory(repository: Path) -> None:
    assert git_state() == (head(repository), False)
    (repository / "new.py").touch()
    assert git_state() == (head(repository), True)


def test_what_git_has_set_for_another_repository_changes_nothing(
    repository: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a hook, an alias or `git rebase --exec`: every variable that git itself calls local to a repository."""
    other = tmp_path_factory.mktemp("other")
    git(other, "init", "--quiet")
    expected = head(repository)
    for name in git(repository, "rev-parse", "--local-env-vars").decode().split():
        monkeypatch.setenv(name, str(other / ".git"))
    for name in ("GIT_QUARANTINE_PATH", "GIT_LITERAL_PATHSPECS", "GIT_NAMESPACE"):
        monkeypatch.setenv(name, "1")
    assert git_state() == (expected, False)


def nothing_committed(root: Path) -> None:
    subprocess.run(["rm", "-r", str(root / ".git")], check=True)
    git(root, "init", "--quiet")


def a_folder_inside(root: Path) -> None:
    (root / "inner").mkdir()
    os.chdir(root / "inner")


def owned_by_another(root: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(root, 12345, 12345)
    os.chown(root / ".git", 12345, 12345)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (nothing_committed, "HEAD"),
        (a_folder_inside, "is a subdirectory of a git repository, not its root"),
        (owned_by_another, "git config --global --add safe.directory"),
    ],
)
def test_a_repository_whose_commit_git_does_not_tell_is_said_once(
    change: Callable[[Path], None], said: str, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(repository)
    assert git_state() == git_state() == ("unknown", True)
    message = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert said in message
    assert message.count("tagged `git.commit: unknown`") == 1


def test_outside_a_repository_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert git_state() == ("unknown", True)
    assert not capsys.readouterr().err
