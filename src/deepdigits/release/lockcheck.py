"""`deepdigits check`: is the committed dvc.lock true for this tree? Nothing is run, and no cache is needed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Annotated, Any

from pydantic import BaseModel, Field

from deepdigits.core.errors import UserError
from deepdigits.core.loading import check, parse_yaml, read_yaml
from deepdigits.release.closure import import_closure, params_read, stage_modules
from deepdigits.release.params import Params

CODE = ("src/", "pipelines/")
# A name, or a mapping of one name to its options.
Out = str | Annotated[Mapping[str, Mapping[str, Any]], Field(min_length=1, max_length=1)]


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


class Declared(BaseModel):
    """A stage as dvc.yaml wants it."""

    cmd: str
    deps: Sequence[str]
    params: Sequence[str]
    outs: Sequence[Out] = ()
    metrics: Sequence[Out] = ()


class Pipeline(BaseModel):
    """What is read of dvc.yaml."""

    vars: Sequence[Mapping[str, str]] = ()
    stages: Mapping[str, Declared]


def check_lock(root: Path) -> list[str]:
    """What is not true, one sentence each, with the stage and what changed.

    Raises:
        UserError: dvc.yaml, dvc.lock or params.yaml is missing, or is not what DVC would write or read.
    """
    pipeline = check(read_yaml(root / "dvc.yaml"), Pipeline, "dvc.yaml")
    stages, names = pipeline.stages, {name: value for entry in pipeline.vars for name, value in entry.items()}
    locked = _read_lock(root / "dvc.lock")
    params = read_yaml(root / "params.yaml")
    faults = [f"{stage}: is in dvc.lock but not in dvc.yaml." for stage in locked if stage not in stages]
    for stage, wanted in stages.items():
        try:
            faults += _declarations(stage, wanted, root)
        except (SyntaxError, ValueError) as error:  # of the source
            faults.append(f"{stage}: {error}.")
        if stage not in locked:
            faults.append(f"{stage}: has never been run, dvc.lock does not know it.")
            continue
        command = Template(wanted.cmd).safe_substitute(names)
        faults += _code(stage, wanted, command, locked[stage], root)
        faults += _params(stage, wanted, locked[stage], params)
        faults += _outs(stage, wanted, locked[stage], root)
    return [*faults, *_handed_on(locked)]


def locked_outs(lock: str) -> dict[str, str]:
    """The MD5 of every output that the text of a dvc.lock names.

    Raises:
        UserError: it is no dvc.lock.
    """
    stages = check(parse_yaml(lock, "dvc.lock"), Lock, "dvc.lock").stages
    return {out.path: out.md5 for stage in stages.values() for out in stage.outs}


def _read_lock(path: Path) -> Mapping[str, Locked]:
    try:
        return check(read_yaml(path), Lock, path.name).stages
    except UserError as error:
        raise UserError(
            f"{error}\nHave the committed one back: git checkout dvc.lock, or write it anew: make repro"
        ) from None


def _declarations(stage: str, wanted: Declared, root: Path) -> Iterator[str]:
    """dvc.yaml against the source: the files a stage imports and the params it reads."""
    modules = stage_modules(wanted.cmd, root)
    if not modules[0].is_file():
        yield f"{stage}: {modules[0].relative_to(root).as_posix()} is missing."
        return
    declared = {dep for dep in wanted.deps if dep.startswith(CODE)}
    imported = import_closure(modules, root)
    yield from (f"{stage}: imports {path}, which is no dep in dvc.yaml." for path in sorted(imported - declared))
    yield from (f"{stage}: has the dep {path}, which it does not import." for path in sorted(declared - imported))
    aliases = {name: field.alias for name, field in Params.model_fields.items() if field.alias}
    read, named = params_read(modules[0], aliases), set(wanted.params)
    yield from (f"{stage}: reads {key}, which is not among its params in dvc.yaml." for key in sorted(read - named))
    yield from (f"{stage}: has the param {key}, which it does not read." for key in sorted(named - read))


def _code(stage: str, wanted: Declared, command: str, locked: Locked, root: Path) -> Iterator[str]:
    if locked.cmd != command:
        yield f"{stage}: its command was {locked.cmd!r}."
    hashes = {dep.path: dep.md5 for dep in locked.deps}
    for path in sorted({*wanted.deps, *hashes}):
        if path not in hashes:
            yield f"{stage}: {path} was no dep when it ran."
        elif path not in wanted.deps:
            yield f"{stage}: {path} was a dep when it ran, and is none now."
        elif path.startswith(CODE) and (root / path).is_file() and _md5(root / path) != hashes[path]:
            yield f"{stage}: {path} has changed since it ran."


def _params(stage: str, wanted: Declared, locked: Locked, params: Mapping[str, Any]) -> Iterator[str]:
    values = locked.params.get("params.yaml", {})
    for key in wanted.params:
        now = _look_up(params, key)
        if key not in values:
            yield f"{stage}: {key} was not read when it ran."
        elif values[key] != now:
            for inner, before, after in _differences(key, values[key], now):
                yield f"{stage}: {inner} was {before}, is {after}."


def _outs(stage: str, wanted: Declared, locked: Locked, root: Path) -> Iterator[str]:
    """Outs by name; the ones that are in git, also by content."""
    entries = [*wanted.outs, *wanted.metrics]
    names = {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}
    in_git = {
        name
        for entry in entries
        if not isinstance(entry, str)
        for name, options in entry.items()
        if not options.get("cache", True)
    }
    made = {out.path: out.md5 for out in locked.outs}
    yield from (f"{stage}: made no {path} when it ran." for path in sorted(names - made.keys()))
    yield from (f"{stage}: made {path} when it ran, which is no out now." for path in sorted(made.keys() - names))
    for path in sorted(in_git & made.keys()):
        if not (root / path).is_file():
            yield f"{stage}: {path} is missing."
        elif _md5(root / path) != made[path]:
            yield f"{stage}: {path} is not the file that it made."


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


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
