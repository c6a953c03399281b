"""Shares the pipelines' outputs through a DVC remote, so that colleagues and CI need not train again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from deepdigits.core.errors import UserError
from deepdigits.ops.git import GitError, git

REMOTE = "results"
SET_ONE = "make remote URL=s3://BUCKET/PATH, or URL=FOLDER, ssh://, webdav://, https://"


def set_remote(root: Path, url: str, shared: bool) -> None:
    """Make `url` the default DVC remote of the repository, in git if `shared`, otherwise on this machine alone.

    Raises:
        UserError: there is no URL, it would commit a login, or DVC refuses it.
    """
    if not url:
        raise UserError(f"Which remote? {SET_ONE}")
    if shared and _has_secret(url):
        raise UserError(
            "This URL contains a password or a token, which SHARED=1 would commit. Leave it out. Each person then sets "
            f"it on their own machine: dvc remote modify --local {REMOTE} password PASSWORD"
        )
    address = url if "://" in url else str(Path(url).expanduser())
    where = [] if shared else ["--local"]
    if _dvc(root, "remote", "add", "--quiet", "--force", "--default", *where, REMOTE, address):
        raise UserError("DVC does not accept this remote; see above. No remote was set.")


def share(root: Path) -> None:
    """Upload the outputs named in the dvc.lock files, and the experiments if there is a git remote `origin`.

    Raises:
        UserError: no remote is set, or an upload failed.
    """
    _need_remote(root)
    if _dvc(root, "push"):
        raise UserError("Not everything was uploaded; see above. Run the same command again: it continues.")
    if _has_origin(root) and _experiments(root) and _dvc(root, "exp", "push", "--all-commits", "origin"):
        raise UserError("The outputs were uploaded, but not all experiments were; see above.")


def fetch(root: Path) -> None:
    """Download the outputs named in the dvc.lock files.

    Raises:
        UserError: no remote is set, or the remote does not have everything.
    """
    _need_remote(root)
    if _dvc(root, "pull"):
        raise UserError(
            "Not everything was downloaded; see above. If outputs are missing at the remote, whoever trained them must "
            "run `make share`. Otherwise train them here: make repro-all"
        )


def _need_remote(root: Path) -> None:
    command = [sys.executable, "-m", "dvc", "config", "core.remote"]
    found = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if not found.stdout.strip():
        raise UserError(f"No remote is set, so nothing can be shared or fetched. Set one: {SET_ONE}")


def _has_secret(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.password or parts.query)
    except ValueError:
        return "@" in url


def _has_origin(root: Path) -> bool:
    try:
        return b"origin" in git(root, "remote").split()
    except GitError:
        return False


def _experiments(root: Path) -> bool:
    command = [sys.executable, "-m", "dvc", "exp", "list", "--all-commits", "--name-only"]
    return bool(subprocess.run(command, cwd=root, capture_output=True, text=True, check=False).stdout.strip())


def _dvc(root: Path, *arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=root, check=False).returncode
