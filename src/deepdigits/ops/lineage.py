"""What a stage's outputs were made from: code, data, parameters and environment, identified by hashes."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.panel import Panel

from deepdigits.core.environment import describe_environment
from deepdigits.core.errors import UserError
from deepdigits.core.files import file_sha256, sha256
from deepdigits.core.loading import PARAMS_FILE, read_yaml
from deepdigits.ops.experiments import trial_tags
from deepdigits.ops.git import GitError, git
from deepdigits.ops.pipeline import find_stage, keys_by_file

# Files that the pipeline itself writes into git. They do not make the tree dirty.
GENERATED = (":!dvc.lock", ":!pipelines/*/dvc.lock", ":!reports/metrics")

GENERATED_FILES = "deepdigits.generated"  # in the git configuration of a copy: the SHA-256 of each, as JSON


@dataclass(frozen=True)
class Lineage:
    """The origin of one stage's outputs.

    `fingerprint` covers the bytes of the stage's declared deps and the values of its declared params.
    `dirty` means that tracked or new files differ from `commit`.
    """

    stage: str
    fingerprint: str
    profile: str
    commit: str
    dirty: bool
    environment: Mapping[str, str]

    @property
    def resume_key(self) -> str:
        """What a checkpoint must have in common with the training run that resumes from it."""
        return sha256(json.dumps([self.fingerprint, sorted(self.environment.items())]).encode())

    def tags(self) -> dict[str, str]:
        return {
            "stage": self.stage,
            "stage.fingerprint": self.fingerprint,
            "profile": self.profile,
            "git.commit": self.commit,
            "git.dirty": str(self.dirty).lower(),
            "environment.sha256": self.environment["requirements_sha256"],
            "environment.torch": self.environment["torch"],
            "environment.cpu": self.environment["cpu"],
            "environment.device": self.environment["device"],
        }


def stage_lineage(stage: str, profile: str, device: str = "cpu") -> Lineage:
    """Read the lineage of `stage` in the working directory, which must be the repository root."""
    commit, dirty = git_state()
    return Lineage(stage, stage_fingerprint(stage), profile, commit, dirty, describe_environment(device=device))


def stage_fingerprint(name: str) -> str:
    """SHA-256 over the names and bytes of the stage's deps and the names and values of its params.

    Raises:
        UserError: the stage or one of its deps is missing.
    """
    stage = find_stage(Path.cwd(), name)
    missing = [path for path in stage.deps if not Path(path).exists()]
    if missing:
        raise UserError(f"Stage {name} depends on {missing[0]}, which is missing. Run: make repro-all")
    deps = {path: _content_sha256(Path(path)) for path in stage.deps}
    values: dict[str, Any] = {}
    for file, keys in keys_by_file(stage.params).items():
        content, prefix = read_yaml(Path(file)), "" if file == str(PARAMS_FILE) else f"{file}:"
        values |= {f"{prefix}{key}": _look_up(content, key) for key in keys}
    return sha256(json.dumps([name, deps, values], sort_keys=True).encode())


def git_state() -> tuple[str, bool]:
    """The commit that is checked out, and whether the tree differs from it.

    ("unknown", True) if git cannot determine them. A warning on stderr says so, unless there is no repository at all.
    """
    if trial := trial_tags():  # its folder is no repository
        return trial["git.commit"], trial["git.dirty"] == "true"
    root = Path.cwd()
    try:
        prefix, commit, *_ = os.fsdecode(git(root, "rev-parse", "--show-prefix", "HEAD")).split("\n")
        if prefix:
            raise GitError(f"{root} is a subdirectory of a git repository, not its root.")
        expected = (*GENERATED, *(f":!{name}" for name in generated_files(root)))
        return commit, bool(git(root, "status", "--porcelain", "--", ".", *expected))
    except GitError as error:
        if any((folder / ".git").exists() for folder in (root, *root.parents)):
            _warn(str(error))
        return "unknown", True


def remember_generated(copy: Path, names: Iterable[str]) -> None:
    """Note in a working copy which of its files were generated from the files of its commit."""
    git(copy, "config", GENERATED_FILES, json.dumps({name: file_sha256(copy / name) for name in names}))


def generated_files(root: Path) -> list[str]:
    """The files, still unchanged, that `deepdigits workspace` generated from those of the commit.

    They may differ from the commit, but follow from it with the profile and the data set.
    """
    try:
        noted: dict[str, str] = json.loads(git(root, "config", "--get", GENERATED_FILES))
    except GitError:  # it is no such copy
        return []
    return [name for name, known in noted.items() if (root / name).is_file() and file_sha256(root / name) == known]


@functools.cache  # once per process, however many runs it creates
def _warn(reason: str) -> None:
    text = (
        "Git cannot determine the current commit, so runs are tagged `git.commit: unknown`, and `deepdigits verify` "
        f"cannot trace their outputs:\n{reason}"
    )
    console = Console(stderr=True, highlight=False)
    console.print(Panel(text, title="lineage", title_align="left", border_style="yellow"), markup=False)


def _content_sha256(path: Path) -> str:
    if path.is_file():
        return file_sha256(path)
    files = sorted(item for item in path.rglob("*") if item.is_file() and "__pycache__" not in item.parts)
    return sha256(json.dumps([[item.relative_to(path).as_posix(), file_sha256(item)] for item in files]).encode())


def _look_up(params: dict[str, Any], key: str) -> Any:
    value: Any = params
    for part in key.split("."):
        value = value[part]
    return value
