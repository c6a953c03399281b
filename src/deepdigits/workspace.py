"""A second working copy with a profile's parameters, so that a trial never touches the real outputs or dvc.lock."""

from __future__ import annotations

import filecmp
import io
import shutil
import subprocess
from pathlib import Path

from ruamel.yaml import YAML

from deepdigits.config.loading import PARAMS_FILE, check, overlay, read_yaml
from deepdigits.config.params import Params
from deepdigits.errors import UserError
from deepdigits.files import write_text

OUTPUTS = ("dvc.lock", "reports/metrics/")


def prepare(source: Path, target: Path, profile: str) -> None:
    """Make `target` a clone of `source`, uncommitted changes included, with profiles/PROFILE.yaml over params.yaml
    (nothing over it for the profile `default`).

    An existing `target` is brought up to date and keeps its outputs, so that DVC reruns only what changed.

    Raises:
        UserError: there is no such profile, its values are not allowed, or `source` is no git repository.
    """
    params = profile_params(source, profile)
    try:
        if not (target / ".git").is_dir():
            _git(source, "clone", "--quiet", "--no-checkout", ".", str(target.resolve()))
        _git(target, "fetch", "--quiet", "origin", "HEAD")
        _git(target, "reset", "--quiet", "--mixed", "FETCH_HEAD")
    except subprocess.CalledProcessError as error:
        raise UserError(f"{source} cannot be cloned to {target}: {error.stderr.strip()}") from None
    wanted = _files(source)
    for name in _files(target) - wanted:
        (target / name).unlink(missing_ok=True)
    for name in wanted - {str(PARAMS_FILE)}:
        _copy_if_changed(source / name, target / name)
    text = f"# Generated: params.yaml with profiles/{profile}.yaml over it.\n{params}"
    if not (target / PARAMS_FILE).is_file() or (target / PARAMS_FILE).read_text(encoding="utf-8") != text:
        write_text(target / PARAMS_FILE, text)


def profile_params(source: Path, profile: str) -> str:
    """params.yaml as YAML text with the profile's changes; checked."""
    path = source / "profiles" / f"{profile}.yaml"
    if profile != "default" and not path.is_file():
        known = ", ".join(sorted(found.stem for found in path.parent.glob("*.yaml")))
        raise UserError(f"There is no profile {profile!r} ({path} is missing). Profiles: default, {known}.")
    shipped = read_yaml(source / PARAMS_FILE)
    merged = shipped if profile == "default" else overlay(shipped, read_yaml(path))
    check(merged, Params, f"{PARAMS_FILE} with {path}")
    buffer = io.StringIO()
    YAML(typ="safe", pure=True).dump(merged, buffer)
    return buffer.getvalue()


def _files(repository: Path) -> set[str]:
    listed = _git(repository, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    return {name for name in listed if name and not name.startswith(OUTPUTS) and (repository / name).is_file()}


def _copy_if_changed(source: Path, target: Path) -> None:
    if not (target.is_file() and filecmp.cmp(source, target, shallow=False)):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def _git(directory: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=directory, check=True, capture_output=True, text=True)
    return done.stdout
