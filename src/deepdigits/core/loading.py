"""Reads params.yaml and explains what is wrong with it."""

from __future__ import annotations

import difflib
import importlib
import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from deepdigits.core.errors import UserError

PARAMS_FILE = Path("params.yaml")

P = TypeVar("P", bound=BaseModel)


def read_params(model: type[P], path: Path = PARAMS_FILE) -> P:
    """Read the parts of `path` that `model` declares.

    All of `path` is validated, so a mistake in a later stage's section is reported before hours of training.

    Raises:
        UserError: the file is missing, is not a YAML mapping, or contains an invalid key or value.
            The message names each key, its value and what is allowed.
    """
    data = read_yaml(path)
    # Imported by name, because a stage does not depend on sections it does not read: this check can only reject.
    check(data, importlib.import_module("deepdigits.release.params").Params, str(path))
    return check(data, model, str(path))


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a file that contains one YAML mapping; see `parse_yaml`."""
    try:
        return parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise UserError(
            f"{path} is missing. Run from the repository root, or restore the file: git checkout {path}"
        ) from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from None


def parse_yaml(text: str, source: str) -> dict[str, Any]:
    """Parse one YAML 1.2 mapping like DVC does: `1e-3` is a number, and a duplicate key is an error."""
    try:
        data = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{source} is not valid YAML: {error}") from None
    if not isinstance(data, dict):
        raise UserError(f"{source} must contain a mapping of keys to values, not {type(data).__name__}.")
    return data


def check(data: dict[str, Any], model: type[P], source: str) -> P:
    """Validate a parsed mapping against `model`; see `read_params`."""
    try:
        # JSON mode is strict about scalars, but lets a YAML list become a tuple.
        return model.model_validate_json(json.dumps(data))
    except ValidationError as error:
        lines = [_explain(item, model) for item in error.errors()]
        raise UserError("\n".join([f"{source}: {len(lines)} invalid value(s)", *lines])) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(
            f"{source}: only text, numbers, true/false, null, lists and mappings are allowed: {error}"
        ) from None


def overlay(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return `base` deep-merged with `changes`; lists are replaced as a whole."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = overlay(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _explain(item: Any, root: type[BaseModel]) -> str:
    path = [str(part) for part in item["loc"]]
    key = ".".join(path)
    if item["type"] == "missing":
        return f"  {key}: is missing"
    if item["type"] == "extra_forbidden":
        return f"  {key}: unknown key{_did_you_mean(path, root)}"
    return f"  {key} = {json.dumps(item['input'], default=str)[:200]}: {item['msg']}"


def _did_you_mean(path: list[str], root: type[BaseModel]) -> str:
    model: Any = root
    for part in path[:-1]:
        fields = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
        model = fields.get(part)
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return ""
    known = [field.alias or name for name, field in model.model_fields.items()]
    close = difflib.get_close_matches(path[-1], known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; valid keys: {', '.join(known)}"
