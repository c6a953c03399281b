"""The folders of a sweep: one copy of the code, and one folder per trial with what its stage declares, and no more."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepdigits.core.environment import REQUIREMENTS
from deepdigits.core.files import write_text
from deepdigits.core.loading import PARAMS_FILE, overlay, read_yaml
from deepdigits.ops.pipeline import MAIN, find_stage
from deepdigits.ops.tracking import STORE_DIR
from deepdigits.release.generated import as_yaml

CODE = ("src", "pipelines", MAIN, str(REQUIREMENTS))


def snapshot(root: Path, folder: Path) -> None:
    """Copy the code into `folder`, once: later changes in `root` do not affect a sweep that has begun."""
    if folder.exists():
        return
    beside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    for name in (*CODE, str(PARAMS_FILE)):
        if (root / name).is_dir():
            shutil.copytree(root / name, beside / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(root / name, beside / name)
    beside.rename(folder)


def prepare_trial(root: Path, code: Path, folder: Path, stage: str, changes: Mapping[str, Any]) -> None:
    """Make `folder` a place to run `stage` with changed params. It sees the stage's own deps, and so no test data."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in CODE:
        _link(code / name, folder / name)
    for dep in find_stage(code, stage).deps:
        if not dep.startswith(CODE):
            _link(root / dep, folder / dep)
    (root / STORE_DIR).mkdir(exist_ok=True)
    _link(root / STORE_DIR, folder / STORE_DIR)  # relative addresses in the store stay valid
    write_text(folder / PARAMS_FILE, as_yaml(overlay(read_yaml(code / PARAMS_FILE), dict(changes))))


def _link(target: Path, link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(os.path.relpath(target.resolve(), link.parent.resolve()))
