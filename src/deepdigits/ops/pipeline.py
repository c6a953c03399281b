"""The stages that the pipelines declare. As in DVC, a matrix expands to one stage per model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from string import Template
from typing import Annotated, Any

from pydantic import BaseModel, Field

from deepdigits.core.errors import UserError
from deepdigits.core.loading import PARAMS_FILE, check, read_yaml

MAIN = "dvc.yaml"
OTHERS = "pipelines/*/dvc.yaml"
# A key of params.yaml, or a mapping of another file to some of its keys.
Param = str | Mapping[str, Sequence[str]]
# A name, or a mapping of one name to its options.
Out = str | Annotated[Mapping[str, Mapping[str, Any]], Field(min_length=1, max_length=1)]


class Stage(BaseModel):
    """A stage of a dvc.yaml; paths are relative to the repository's root."""

    cmd: str
    deps: Sequence[str]
    params: Sequence[Param]
    outs: Sequence[Out] = ()
    metrics: Sequence[Out] = ()
    matrix: Mapping[str, Sequence[str]] = {}


class Pipeline(BaseModel):
    """The parts of a dvc.yaml that are read here."""

    vars: Sequence[Mapping[str, str] | str] = ()  # a str is FILE:KEY,KEY...
    stages: Mapping[str, Stage]


def pipeline_files(root: Path) -> list[str]:
    """The dvc.yaml files relative to `root`, the main one first."""
    return [MAIN, *sorted(path.relative_to(root).as_posix() for path in root.glob(OTHERS))]


def read_stages(root: Path, file: str) -> dict[str, Stage]:
    """The stages of one dvc.yaml, keyed by their DVC names, e.g. `evaluate@cnn`, with all values filled in.

    Raises:
        UserError: the file is missing or malformed.
    """
    pipeline = check(read_yaml(root / file), Pipeline, file)
    values = _params(root / file)
    for entry in pipeline.vars:
        values |= _values(entry, (root / file).parent)
    stages = {}
    for name, stage in pipeline.stages.items():
        for item in (dict(zip(stage.matrix, values_of, strict=True)) for values_of in product(*stage.matrix.values())):
            filled = _fill(stage, values | {f"item.{key}": value for key, value in item.items()})
            stages["@".join([name, "-".join(item.values())]) if item else name] = filled
    return stages


def _params(file: Path) -> dict[str, str]:
    """The names in the params.yaml beside a dvc.yaml, which DVC fills in as well."""
    path = file.with_name(PARAMS_FILE.name)
    found = read_yaml(path) if path.is_file() else {}
    return {name: value for name, value in found.items() if isinstance(value, str)}


def _values(entry: Mapping[str, str] | str, folder: Path) -> Mapping[str, str]:
    if not isinstance(entry, str):
        return entry
    file, _, keys = entry.partition(":")
    content = read_yaml(folder / file)
    return {key: str(content[key]) for key in keys.split(",")}


def keys_by_file(params: Sequence[Param]) -> dict[str, list[str]]:
    """The keys that a stage declares, by the file that has them."""
    found: dict[str, list[str]] = {}
    for entry in params:
        for file, keys in ({str(PARAMS_FILE): [entry]} if isinstance(entry, str) else entry).items():
            found.setdefault(file, []).extend(keys)
    return found


def find_stage(root: Path, name: str) -> Stage:
    """Find a stage by name in any of the pipelines; `evaluate_cnn` stands for `evaluate@cnn`.

    Raises:
        UserError: there is no such stage.
    """
    known: list[str] = []
    for file in pipeline_files(root):
        for key, stage in read_stages(root, file).items():
            known.append(key.replace("@", "_"))
            if known[-1] == name:
                return stage
    raise UserError(f"No dvc.yaml defines a stage {name!r}; known stages: {', '.join(known)}.")


def out_names(entries: Sequence[Out]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each out with its options."""
    for entry in entries:
        yield from [(entry, {})] if isinstance(entry, str) else entry.items()


class _Braced(Template):
    """Substitutes only names in braces, such as `${item.model}`; a shell's `$PATH` is left unchanged."""

    braceidpattern = r"[a-z_]+(?:\.[a-z_]+)?"


def _fill(stage: Stage, values: Mapping[str, str]) -> Stage:
    text = _Braced(stage.model_dump_json()).safe_substitute(
        {key: json.dumps(value)[1:-1] for key, value in values.items()}
    )
    return Stage.model_validate_json(text)
