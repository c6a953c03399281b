"""Every call of git: about the folder given, whatever a hook, an alias or a rebase that runs us has set."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

# Git's variables that tell how to reach a repository. All others tell which one is meant (`GIT_DIR`,
# `GIT_INDEX_FILE`, `GIT_OBJECT_DIRECTORY`...), and inside a hook that is the user's own.
KEPT = (
    "GIT_ASKPASS",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_CONFIG_SYSTEM",
    "GIT_EXEC_PATH",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSL_CAINFO",
    "GIT_TERMINAL_PROMPT",
)


class GitError(Exception):
    """Git refused, or cannot be run. The message is git's own."""


def git(directory: Path, *arguments: str) -> bytes:
    """Run git in `directory` and return what it prints: bytes, since names of files need not be UTF-8.

    Raises:
        GitError: git is not installed, or ended with an error.
    """
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=directory, env=environment_without_git(), capture_output=True, check=False
        )
    except OSError as error:
        raise GitError(f"git cannot be run: {error}") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", errors="replace").strip()
        raise GitError(said or f"git {arguments[0]} ended with exit code {done.returncode}")
    return done.stdout


def environment_without_git() -> dict[str, str]:
    """This process's environment for git, or for a program that runs git, in another folder."""
    return {key: value for key, value in os.environ.items() if not key.startswith("GIT_") or key in KEPT}
