"""Runs git on a given folder, whatever variables an enclosing hook, alias or rebase has set."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

# Git variables that control how to reach a repository. All others select the repository itself (`GIT_DIR`,
# `GIT_INDEX_FILE`, `GIT_OBJECT_DIRECTORY`...), and inside a hook they select the user's own.
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
    """Git failed or could not be started. The message is git's own."""


def git(directory: Path, *arguments: str) -> bytes:
    """Run git in `directory` and return its output as bytes, because file names need not be UTF-8.

    Raises:
        GitError: git is not installed, or failed.
    """
    try:
        result = subprocess.run(
            ["git", *arguments], cwd=directory, env=environment_without_git(), capture_output=True, check=False
        )
    except OSError as error:
        raise GitError(f"cannot run git: {error}") from None
    if result.returncode:
        message = result.stderr.decode("utf-8", errors="replace").strip()
        raise GitError(message or f"git {arguments[0]} failed with exit code {result.returncode}")
    return result.stdout


def environment_without_git() -> dict[str, str]:
    """This process's environment, safe for running git, or a program that runs git, in another folder."""
    return {key: value for key, value in os.environ.items() if not key.startswith("GIT_") or key in KEPT}
