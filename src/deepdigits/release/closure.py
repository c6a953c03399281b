"""Which files a stage module imports, directly or through others, and which params it reads: both from the source."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

ROOTS = {"pipelines": ".", "deepdigits": "src"}  # our packages, and where they are


def stage_modules(command: str, root: Path) -> list[Path]:
    """The files that a stage's command, `... -m pipelines.MODULE [TASK]`, names: the module, and the task's file."""
    module, *arguments = command.partition(" -m ")[2].split() or [command]
    tasks = [root / "src/deepdigits/tasks" / name / "task.py" for name in arguments]
    return [root / f"{module.replace('.', '/')}.py", *(path for path in tasks if path.is_file())]


def import_closure(modules: Sequence[Path], root: Path) -> set[str]:
    """All files of ours, relative to `root`, that `modules` run; `__init__` files only where not empty."""
    seen: set[Path] = set()
    waiting = list(modules)
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting += _imports(path, root)
    return {path.relative_to(root).as_posix() for path in seen if path in modules or not _is_empty(path)}


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


def _imports(path: Path, root: Path) -> list[Path]:
    found: set[Path] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), path.name)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            found |= _files_of(name, root)
    return list(found)


def _files_of(name: str, root: Path) -> set[Path]:
    """The module's file and the `__init__` of each package above it."""
    parts = name.split(".")
    if parts[0] not in ROOTS:
        return set()
    files = set()
    for length in range(1, len(parts) + 1):
        place = (root / ROOTS[parts[0]]).joinpath(*parts[:length])
        files |= {path for path in (place / "__init__.py", place.with_suffix(".py")) if path.is_file()}
    return files


def _is_empty(path: Path) -> bool:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body)


def _chain(node: ast.expr) -> list[str] | None:
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute) and (above := _chain(node.value)):
        return [*above, node.attr]
    return None
