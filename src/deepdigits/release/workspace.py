"""A second working copy for a profile or a data set, so that a trial never touches the real outputs or dvc.lock."""

from __future__ import annotations

import filecmp
import os
import shutil
import sys
from pathlib import Path

from deepdigits.core.errors import UserError
from deepdigits.core.files import write_text
from deepdigits.core.loading import PARAMS_FILE
from deepdigits.data.described import FOLDER
from deepdigits.ops.git import GitError, environment_without_git, git
from deepdigits.ops.lineage import remember_generated
from deepdigits.release.datasets import read_dataset
from deepdigits.release.generated import generated

METRICS = "reports/metrics/"
MARK = "deepdigits.release.workspace"  # set in the git configuration of every copy made here


def prepare(source: Path, target: Path, profile: str, dataset: str | None = None, glyphs: bool = False) -> None:
    """Make `target` a clone of `source`, including uncommitted changes, with the files that the profile changes.

    With `dataset`, the pipeline runs on the data of datasets/DATASET.yaml. The profile `default` changes nothing more;
    see `deepdigits.release.generated`.
    With `glyphs`, these data must be declared to be glyphs, of which scenes and handwriting can be made.
    An existing `target` is updated and keeps its outputs, so DVC reruns only what changed. Commits made in it are kept
    on the branch `kept-COMMIT`.

    Raises:
        UserError: the profile or the dataset does not exist or has invalid values, `source` is not a git repository, or
            `target` exists and was not made by this function.
    """
    files = generated(source, profile, dataset)
    if glyphs and dataset and not read_dataset(source, dataset).glyphs:
        raise UserError(
            f"datasets/{dataset}.yaml does not say glyphs: true, so no scenes or handwriting are made of these data. "
            "If they are strokes on an empty background, as digits are, add it; otherwise run: make repro"
        )
    source, target = source.resolve(), target.resolve()
    try:
        if not (target / ".git").exists():
            git(source, "clone", "--quiet", "--no-checkout", "--config", f"{MARK}=true", ".", str(target))
        elif not _made_here(target):
            raise UserError(
                f"{target} is a git repository that `deepdigits workspace` did not make, so it was left as it is. "
                "Choose another folder, or remove this one if it is a trial copy from an earlier release."
            )
        _move_to_commit_of(source, target)
        wanted = _files(source)
        surplus = _files(target, f"--git-dir={target / '.git'}") - wanted
    except GitError as error:
        raise UserError(f"{source} cannot be cloned to {target}: {error}") from None
    for name in surplus:
        (target / name).unlink(missing_ok=True)
    for name in wanted - set(files):
        _copy_if_changed(source / name, target / name)
    for name, text in files.items():
        if not (target / name).is_file() or (target / name).read_text(encoding="utf-8") != text:
            write_text(target / name, text)
    committed = not git(source, "status", "--porcelain", "--", str(PARAMS_FILE), str(FOLDER))
    remember_generated(target, files if committed else ())


def child_environment() -> dict[str, str]:
    """The environment to run `dvc` in another working copy, with that copy's git and code and with this Python."""
    own = environment_without_git()
    path = f"{Path(sys.executable).parent}{os.pathsep}{own.get('PATH', '')}"
    return {**own, "PATH": path, "PYTHONPATH": "src"}


def _made_here(target: Path) -> bool:
    try:
        return git(target, f"--git-dir={target / '.git'}", "config", "--type=bool", MARK).strip() == b"true"
    except GitError:
        return False


def _move_to_commit_of(source: Path, target: Path) -> None:
    """Move `target`'s branch and index to `source`'s commit without touching its files."""
    own = (f"--git-dir={target / '.git'}", f"--work-tree={target}")  # else git searches the parents of a corrupt one
    git(target, *own, "fetch", "--quiet", "--update-shallow", str(source), "HEAD")
    made_in_it = git(target, *own, "rev-list", "--max-count=1", "HEAD", "--not", "FETCH_HEAD", "--").decode().strip()
    if made_in_it:
        git(target, *own, "branch", "--force", f"kept-{made_in_it[:12]}", made_in_it)
    git(target, *own, "reset", "--quiet", "--mixed", "FETCH_HEAD")


def _files(repository: Path, *options: str) -> set[str]:
    listed = git(repository, *options, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split(b"\0")
    names = {os.fsdecode(name) for name in listed if name}
    return {name for name in names if not _is_output(name) and (repository / name).is_file()}


def _is_output(name: str) -> bool:
    """Whether the pipelines write the file into git; each working copy has its own."""
    return name.startswith(METRICS) or Path(name).name == "dvc.lock"


def _copy_if_changed(source: Path, target: Path) -> None:
    if not (target.is_file() and filecmp.cmp(source, target, shallow=False)):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
