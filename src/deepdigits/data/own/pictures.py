"""Reads pictures in class folders, or named by a CSV file with the columns path, label and, if wanted, split, group."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile

import numpy as np

from deepdigits.core.errors import UserError
from deepdigits.data.own.decoding import Undecodable
from deepdigits.data.own.labelled import Labelled, check_classes, check_size
from deepdigits.data.own.trees import Read, files_of

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
NAMED = 8  # files that a message names


@dataclass(frozen=True)
class Item:
    """One file, with what the source says about it."""

    path: PurePosixPath
    label: str
    split: str | None = None
    group: str | None = None


def read_tree(
    source: Path,
    suffixes: frozenset[str],
    decode: Callable[[bytes], np.ndarray],
    kind: str,
    group: str | None = None,
    conversions: Callable[[bytes], Sequence[str]] = lambda _: (),
) -> Labelled:
    """Read every file below `source` that has one of `suffixes`.

    If there is one CSV file at the top, it says which files there are; otherwise the folders do: CLASS/FILE, or
    SPLIT/CLASS/FILE with a split named train, val or test.

    Args:
        decode: a file's bytes -> uint8 `(28, 28)`, or `Undecodable`.
        kind: what the files are, for messages.
        group: what an image belongs to, e.g. speaker: a column of the CSV, or the file name up to its first underscore.
        conversions: a file's bytes -> what decoding changes about it.

    Raises:
        UserError: there are no such files, files are missing or unreadable, or there are fewer than two classes.
    """
    files = files_of(source)
    tables = [path for path in files if len(path.parts) == 1 and path.suffix.lower() == ".csv"]
    if len(tables) > 1:
        raise UserError(
            f"{source} has several CSV files: {', '.join(map(str, tables))}. Keep the one that names the files."
        )
    items = (
        from_csv(files[tables[0]](), source / str(tables[0]), group)
        if tables
        else from_folders(list(files), suffixes, group)
    )
    if not items:
        raise UserError(
            f"{source} has no {kind} in class folders: expected CLASS/FILE with {', '.join(sorted(suffixes))}."
        )
    if missing := [str(item.path) for item in items if item.path not in files]:
        raise UserError(f"{source / str(tables[0])} names files that do not exist: {_listed(missing)}.")
    classes = sorted({item.label for item in items}, key=_natural)
    check_classes(classes, str(source))
    check_size(len(items), str(source))
    images, changes = _decoded(items, files, decode, conversions, source, kind)
    return Labelled(
        images=images,
        labels=np.array([classes.index(item.label) for item in items], np.int64),
        classes=classes,
        names=[str(item.path) for item in items],
        splits=_column([item.split for item in items], "split", source),
        groups=_column([item.group for item in items], "group", source),
        notes=[f"{found} of {len(items)} {kind}: {change}" for change, found in sorted(changes.items())],
    )


def from_folders(paths: Sequence[PurePosixPath], suffixes: frozenset[str], group: str | None = None) -> list[Item]:
    """The files in class folders. All other files are left out."""
    chosen = [path for path in paths if path.suffix.lower() in suffixes]
    if chosen and all(len(path.parts) > 2 and path.parts[0].lower() in SPLIT_NAMES for path in chosen):
        return [Item(path, path.parts[1], SPLIT_NAMES[path.parts[0].lower()], _group(path, group)) for path in chosen]
    return [Item(path, path.parts[0], None, _group(path, group)) for path in chosen if len(path.parts) > 1]


def _group(path: PurePosixPath, group: str | None) -> str | None:
    return path.stem.partition("_")[0] if group else None


def from_csv(data: bytes, table: Path, group: str | None = None) -> list[Item]:
    """The files that a CSV names.

    Raises:
        UserError: the file is not UTF-8, a column or a value is missing, or a split is unknown.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    except UnicodeDecodeError:
        raise UserError(f"{table} is not UTF-8. Save it as UTF-8.") from None
    except csv.Error as error:
        raise UserError(f"{table} is not a CSV file: {error}.") from None
    columns = set(rows[0]) if rows else set()
    if not columns >= {"path", "label"}:
        raise UserError(
            f"{table} needs the columns path and label, and may have split and group; it has {_listed(columns)}."
        )
    if group and group not in columns:
        raise UserError(f"{table} has no column {group}; it has {_listed(columns)}.")
    items = []
    for number, row in enumerate(rows, start=2):
        if not row["path"] or not row["label"]:
            raise UserError(f"{table}, line {number}: path or label is empty.")
        split = row.get("split") or None
        if split and split.lower() not in SPLIT_NAMES:
            raise UserError(f"{table}, line {number}: the split {split!r} is none of train, validation and test.")
        named = SPLIT_NAMES[split.lower()] if split else None
        items.append(Item(PurePosixPath(row["path"]), row["label"], named, row.get(group or "group") or None))
    return items


def _decoded(
    items: Sequence[Item],
    files: Mapping[PurePosixPath, Read],
    decode: Callable[[bytes], np.ndarray],
    conversions: Callable[[bytes], Sequence[str]],
    source: Path,
    kind: str,
) -> tuple[np.ndarray, Counter[str]]:
    """The images, and how often each conversion was made."""
    images = np.empty((len(items), 28, 28), np.uint8)
    broken: list[str] = []
    changes: Counter[str] = Counter()
    for row, item in enumerate(items):
        try:
            data = files[item.path]()
            images[row] = decode(data)
            changes.update(conversions(data))
        except (Undecodable, OSError, BadZipFile) as error:
            broken.append(f"{item.path}: {error}")
    if broken:
        raise UserError(
            f"{source}: {len(broken)} of {len(items)} {kind} cannot be used. Repair or remove them:\n"
            + "\n".join(f"- {one}" for one in broken[:NAMED])
            + (f"\nand {len(broken) - NAMED} more" if len(broken) > NAMED else "")
        )
    return images, changes


def _column(values: Sequence[str | None], name: str, source: Path) -> np.ndarray | None:
    given = [value for value in values if value is not None]
    if not given:
        return None
    if len(given) < len(values):
        raise UserError(
            f"{source}: {len(values) - len(given)} of {len(values)} files have no {name}. Give all or none one."
        )
    return np.array(given)


def _natural(name: str) -> tuple[bool, int, str]:
    """Numbers in order of size, before names in alphabetical order."""
    return (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)


def _listed(names: object) -> str:
    listed = sorted(map(str, names))  # type: ignore[call-overload]
    return ", ".join(listed[:NAMED]) + (f" and {len(listed) - NAMED} more" if len(listed) > NAMED else "") or "none"
