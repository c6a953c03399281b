"""What a stage runs, reads and declares, derived from the source."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

TASK_MODULES = {"evaluate": "evaluation", "package": "task", "report": "task"}


def modules_of(command: str) -> list[str]:
    """The modules that a stage's command, `... -m pipelines.MODULE [ARGUMENTS]`, runs: the one that it names, and those
    of the tasks among its arguments."""
    module, *arguments = command.partition(" -m ")[2].split()
    part = TASK_MODULES.get(module.partition(".")[2])
    tasks = arguments[1:] if module == "pipelines.report" else arguments
    return [module, *(f"deepdigits.tasks.{name}.{part}" for name in tasks if part)]


def covering(module: str, declared: Sequence[str], root: Path) -> list[str]:
    """The declared files and folders that contain a module."""
    path = ("src/" if module.startswith("deepdigits") else "") + module.replace(".", "/")
    file = f"{path}/__init__.py" if (root / path).is_dir() else f"{path}.py"
    if file.endswith("__init__.py") and _is_empty(root / file):
        return ["nothing"]
    return [dep for dep in declared if dep == file or file.startswith(f"{dep}/")]


def _is_empty(path: Path) -> bool:
    """Whether a file contains at most a docstring."""
    return all(isinstance(node, ast.Expr) for node in ast.parse(path.read_text(encoding="utf-8")).body)


def params_read(module: Path, schema_aliases: dict[str, str]) -> set[str]:
    """The longest attribute chains on the name `params`, as dotted keys of params.yaml."""
    tree = ast.parse(module.read_text(encoding="utf-8"), module.name)
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    keys = set()
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and id(node) not in inner
            and (chain := _chain(node))
            and chain[0] == "params"
        ):
            keys.add(".".join(schema_aliases.get(part, part) for part in chain[1:]))
        if (
            isinstance(node, ast.Name)
            and node.id == "params"
            and id(node) not in inner
            and isinstance(node.ctx, ast.Load)
        ):
            raise ValueError(f"{module.name}:{node.lineno}: `params` is handed on whole; name the part that is used")
    return {key for key in keys if not any(other != key and key.startswith(f"{other}.") for other in keys)}


def _chain(node: ast.expr) -> list[str] | None:
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute) and (above := _chain(node.value)):
        return [*above, node.attr]
    return None
