"""The commit that runs are tagged with, read by real git; if git does not reveal it, a message says so."""

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


def test_git_state_describes_the_working_directory(repository: Path) -> None:
    assert git_state() == (head(repository), False)
    (repository / "new.py").touch()
    assert git_state() == (head(repository), True)


def test_git_variables_for_another_repository_are_ignored(
    repository: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a hook, an alias or `git rebase --exec`: every variable that git itself lists as local to a repository."""
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


def inside_a_subfolder(root: Path) -> None:
    (root / "inner").mkdir()
    os.chdir(root / "inner")


def owned_by_another_user(root: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(root, 12345, 12345)
    os.chown(root / ".git", 12345, 12345)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (nothing_committed, "HEAD"),
        (inside_a_subfolder, "is a subdirectory of a git repository, not its root"),
        (owned_by_another_user, "git config --global --add safe.directory"),
    ],
)
def test_a_repository_whose_commit_git_does_not_reveal_is_reported_once(
    change: Callable[[Path], None], expected: str, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(repository)
    assert git_state() == git_state() == ("unknown", True)
    message = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert expected in message
    assert message.count("tagged `git.commit: unknown`") == 1


def test_nothing_is_reported_outside_a_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert git_state() == ("unknown", True)
    assert not capsys.readouterr().err
