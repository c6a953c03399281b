"""`deepdigits check`: are the committed dvc.lock files true for this tree? Nothing is run, and no cache is needed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from deepdigits.core import paths
from deepdigits.core.environment import describe_environment
from deepdigits.core.errors import UserError
from deepdigits.core.files import read_json
from deepdigits.core.loading import PARAMS_FILE, check, parse_yaml, read_yaml
from deepdigits.ops.pipeline import Stage, out_names, pipeline_files, read_stages

CODE = ("src/", "pipelines/")
ENVIRONMENT = {
    "requirements_sha256": "the hash of requirements.lock",
    "torch": "the build of torch",
    "cpu": "the instruction set of torch's kernels",
}


class File(BaseModel):
    """A dep or an out as dvc.lock names it."""

    path: str
    md5: str


class Locked(BaseModel):
    """A stage as it ran."""

    cmd: str
    deps: Sequence[File] = ()
    params: Mapping[str, Mapping[str, Any]] = {}
    outs: Sequence[File] = ()


class Lock(BaseModel):
    """What is read of dvc.lock."""

    stages: Mapping[str, Locked]


def check_lock(root: Path) -> list[str]:
    """What is not true, one sentence each, with the stage and what changed.

    Raises:
        UserError: a dvc.yaml, a dvc.lock or params.yaml is missing, or is not what DVC would write or read.
    """
    params = read_yaml(root / PARAMS_FILE)
    faults: list[str] = []
    everything: dict[str, Locked] = {}
    for file in pipeline_files(root):
        stages, locked = read_stages(root, file), _read_lock(root, lock_of(file))
        faults += [f"{name}: is in {lock_of(file)} but not in {file}." for name in locked if name not in stages]
        for name, stage in stages.items():
            if name not in locked:
                faults.append(f"{name}: has never been run, {lock_of(file)} does not know it.")
                continue
            faults += _code(name, stage, locked[name], root)
            faults += _params(name, stage, locked[name], params)
            faults += _outs(name, stage, locked[name], root)
        everything |= locked
    return [*faults, *_handed_on(everything)]


def other_environment(root: Path) -> list[str]:
    """What of the environment differs from that of the committed trainings, one sentence each.

    Their figures hold here; their bytes need not.
    """
    import torch  # noqa: F401  # so that its instruction set is told, too

    here = describe_environment(root)
    differences: dict[tuple[str, str], list[str]] = {}
    for path in sorted((root / paths.METRICS).glob("train_*.json")):
        model = path.stem.removeprefix("train_")
        there = {key: read_json(path).get(f"{model}.environment.{key}", "unknown") for key in here}
        for key in here:
            if there[key] != here[key]:
                differences.setdefault((key, str(there[key])), []).append(model)
    return [
        f"{', '.join(models)}: {ENVIRONMENT[key]} was {there[:12]}, here it is {here[key][:12]}."
        for (key, there), models in differences.items()
    ]


def lock_of(file: str) -> str:
    """The dvc.lock of a dvc.yaml."""
    return file.removesuffix("yaml") + "lock"


def locked_outs(lock: str) -> dict[str, str]:
    """The MD5 of every output that the text of a dvc.lock names.

    Raises:
        UserError: it is no dvc.lock.
    """
    stages = check(parse_yaml(lock, "dvc.lock"), Lock, "dvc.lock").stages
    return {out.path: out.md5 for stage in stages.values() for out in stage.outs}


def _read_lock(root: Path, name: str) -> Mapping[str, Locked]:
    try:
        return check(read_yaml(root / name), Lock, name).stages
    except UserError as error:
        raise UserError(
            f"{error}\nHave the committed one back: git checkout {name}, or write it anew: make repro-all"
        ) from None


def _code(name: str, stage: Stage, locked: Locked, root: Path) -> Iterator[str]:
    if locked.cmd != stage.cmd:
        yield f"{name}: its command was {locked.cmd!r}."
    hashes = {dep.path: dep.md5 for dep in locked.deps}
    for path in sorted({*stage.deps, *hashes}):
        if path not in hashes:
            yield f"{name}: {path} was no dep when it ran."
        elif path not in stage.deps:
            yield f"{name}: {path} was a dep when it ran, and is none now."
        elif path.startswith(CODE) and (root / path).exists() and content_md5(root / path) != hashes[path]:
            yield f"{name}: {path} has changed since it ran."


def _params(name: str, wanted: Stage, locked: Locked, params: Mapping[str, Any]) -> Iterator[str]:
    values = locked.params.get("params.yaml", {})
    for key in wanted.params:
        now = _look_up(params, key)
        if key not in values:
            yield f"{name}: {key} was not read when it ran."
        elif values[key] != now:
            for inner, before, after in _differences(key, values[key], now):
                yield f"{name}: {inner} was {before}, is {after}."


def _outs(name: str, stage: Stage, locked: Locked, root: Path) -> Iterator[str]:
    """Outs by name; the ones that are in git, also by content."""
    declared = dict(out_names([*stage.outs, *stage.metrics]))
    in_git = {path for path, options in declared.items() if not options.get("cache", True)}
    made = {out.path: out.md5 for out in locked.outs}
    missing, surplus = declared.keys() - made.keys(), made.keys() - declared.keys()
    yield from (f"{name}: made no {path} when it ran." for path in sorted(missing))
    yield from (f"{name}: made {path} when it ran, which is no out now." for path in sorted(surplus))
    for path in sorted(in_git & made.keys()):
        if not (root / path).is_file():
            yield f"{name}: {path} is missing."
        elif content_md5(root / path) != made[path]:
            yield f"{name}: {path} is not the file that it made."


def _handed_on(locked: Mapping[str, Locked]) -> Iterator[str]:
    """Whether each stage read what an earlier one had made."""
    made = {out.path: out.md5 for entry in locked.values() for out in entry.outs}
    for stage, entry in locked.items():
        for dep in entry.deps:
            if made.get(dep.path, dep.md5) != dep.md5:
                yield f"{stage}: read another {dep.path} than is in dvc.lock now."


def _differences(key: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in sorted({*before, *after}):
            if before.get(name) != after.get(name):
                yield from _differences(f"{key}.{name}", before.get(name, "absent"), after.get(name, "absent"))
    else:
        yield key, before, after


def _look_up(params: Mapping[str, Any], key: str) -> Any:
    value: Any = params
    for part in key.split("."):
        value = value.get(part, "absent") if isinstance(value, Mapping) else "absent"
    return value


def content_md5(path: Path) -> str:
    """The MD5 of a file or a folder as DVC computes it, without what .dvcignore leaves out of code."""
    if path.is_file():
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    files = [item for item in path.rglob("*") if item.is_file() and "__pycache__" not in item.parts]
    names = {item.relative_to(path).as_posix(): item for item in files}
    listed = [{"md5": content_md5(names[name]), "relpath": name} for name in sorted(names)]
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"
