"""`deepdigits check`: do the committed dvc.lock files match this tree? It runs nothing and needs no cache."""

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
from deepdigits.ops.pipeline import Stage, keys_by_file, out_names, pipeline_files, read_stages

CODE = ("src/", "pipelines/")
ENVIRONMENT = {
    "requirements_sha256": "the hash of requirements.lock",
    "torch": "the torch build",
    "cpu": "the instruction set of torch's kernels",
    "device": "the device",
}


class File(BaseModel):
    """A dep or an out, as recorded in dvc.lock."""

    path: str
    md5: str


class Locked(BaseModel):
    """A stage as it last ran."""

    cmd: str
    deps: Sequence[File] = ()
    params: Mapping[str, Mapping[str, Any]] = {}
    outs: Sequence[File] = ()


class Lock(BaseModel):
    """The part of dvc.lock that is read here."""

    stages: Mapping[str, Locked]


def check_lock(root: Path) -> list[str]:
    """List every mismatch as one sentence that names the stage and what changed.

    Raises:
        UserError: a dvc.yaml, a dvc.lock or params.yaml is missing, or is not in the form that DVC reads or writes.
    """
    faults: list[str] = []
    everything: dict[str, Locked] = {}
    for file in pipeline_files(root):
        stages, locked = read_stages(root, file), _read_lock(root, lock_of(file))
        faults += [f"{name}: is in {lock_of(file)} but not in {file}." for name in locked if name not in stages]
        for name, stage in stages.items():
            if name not in locked:
                faults.append(f"{name}: has never run; {lock_of(file)} has no entry for it.")
                continue
            faults += _code(name, stage, locked[name], root)
            faults += _params(name, stage, locked[name], root)
            faults += _outs(name, stage, locked[name], root)
        everything |= locked
    return [*faults, *_stale_inputs(everything)]


def other_environment(root: Path) -> list[str]:
    """List how this environment differs from that of the committed trainings, one sentence each.

    In a different environment the committed figures still hold, but the bytes may differ.
    """
    import torch  # describe_environment reports its instruction set only once it is imported

    here = describe_environment(root)
    gpu = describe_environment(root, "cuda")["device"] if torch.cuda.is_available() else None
    differences: dict[tuple[str, str], list[str]] = {}
    for path in sorted((root / paths.METRICS).glob("train_*.json")):
        model = path.stem.removeprefix("train_")
        figures = read_json(path)
        for key in here:
            there = str(figures.get(f"{model}.environment.{key}", "unknown"))
            if there not in (here[key], gpu):
                differences.setdefault((key, there), []).append(model)
    return [
        f"{', '.join(models)}: {ENVIRONMENT[key]} was {_short(there)}, but is {_short(here[key])} here."
        for (key, there), models in differences.items()
    ]


def _short(value: str) -> str:
    """Shorten a hash."""
    return value[:12] if len(value) == 64 else value


def lock_of(file: str) -> str:
    """The path of the dvc.lock that belongs to a dvc.yaml."""
    return file.removesuffix("yaml") + "lock"


def locked_outs(lock: str) -> dict[str, str]:
    """The MD5 of every output in the text of a dvc.lock, by path.

    Raises:
        UserError: the text is not a valid dvc.lock.
    """
    stages = check(parse_yaml(lock, "dvc.lock"), Lock, "dvc.lock").stages
    return {out.path: out.md5 for stage in stages.values() for out in stage.outs}


def _read_lock(root: Path, name: str) -> Mapping[str, Locked]:
    try:
        return check(read_yaml(root / name), Lock, name).stages
    except UserError as error:
        raise UserError(
            f"{error}\nTo restore the committed file: git checkout {name}. To regenerate it: make repro-all"
        ) from None


def _code(name: str, stage: Stage, locked: Locked, root: Path) -> Iterator[str]:
    if locked.cmd != stage.cmd:
        yield f"{name}: its command has changed; it was {locked.cmd!r}."
    hashes = {dep.path: dep.md5 for dep in locked.deps}
    for path in sorted({*stage.deps, *hashes}):
        if path not in hashes:
            yield f"{name}: {path} was not a dep when it last ran."
        elif path not in stage.deps:
            yield f"{name}: {path} was a dep when it last ran, but no longer is."
        elif path.startswith(CODE) and (root / path).exists() and content_md5(root / path) != hashes[path]:
            yield f"{name}: {path} has changed since it last ran."


def _params(name: str, wanted: Stage, locked: Locked, root: Path) -> Iterator[str]:
    for file, keys in keys_by_file(wanted.params).items():
        values, content = locked.params.get(file, {}), read_yaml(root / file)
        place = "" if file == str(PARAMS_FILE) else f"{file}: "
        for key in keys:
            now = _look_up(content, key)
            if key not in values:
                yield f"{name}: {place}{key} was not a param when it last ran."
            elif values[key] != now:
                for inner, before, after in _differences(key, values[key], now):
                    yield f"{name}: {place}{inner} was {before} and is now {after}."


def _outs(name: str, stage: Stage, locked: Locked, root: Path) -> Iterator[str]:
    """Compare outs by name, and those that are in git also by content."""
    declared = dict(out_names([*stage.outs, *stage.metrics]))
    in_git = {path for path, options in declared.items() if not options.get("cache", True)}
    made = {out.path: out.md5 for out in locked.outs}
    missing, surplus = declared.keys() - made.keys(), made.keys() - declared.keys()
    yield from (f"{name}: did not write {path} when it last ran." for path in sorted(missing))
    yield from (f"{name}: wrote {path} when it last ran, but it is no longer an out." for path in sorted(surplus))
    for path in sorted(in_git & made.keys()):
        if not (root / path).is_file():
            yield f"{name}: {path} is missing."
        elif content_md5(root / path) != made[path]:
            yield f"{name}: {path} is not the file that it wrote."


def _stale_inputs(locked: Mapping[str, Locked]) -> Iterator[str]:
    """Check that each stage read what the earlier stage wrote."""
    made = {out.path: out.md5 for entry in locked.values() for out in entry.outs}
    for stage, entry in locked.items():
        for dep in entry.deps:
            if made.get(dep.path, dep.md5) != dep.md5:
                yield f"{stage}: read a different {dep.path} than dvc.lock now records."


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
    """The MD5 of a file or a folder as DVC computes it, without the files that .dvcignore excludes from code."""
    if path.is_file():
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    files = [item for item in path.rglob("*") if item.is_file() and "__pycache__" not in item.parts]
    names = {item.relative_to(path).as_posix(): item for item in files}
    listed = [{"md5": content_md5(names[name]), "relpath": name} for name in sorted(names)]
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"
