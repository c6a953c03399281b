"""Reads a labelled source of any kind, and identifies its content."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from deepdigits.core.errors import UserError
from deepdigits.core.files import file_sha256, sha256
from deepdigits.data.described import Kind
from deepdigits.data.own import decoding, recordings
from deepdigits.data.own.arrays import idx_files, read_idx, read_npz
from deepdigits.data.own.decoding import Ink
from deepdigits.data.own.labelled import Labelled
from deepdigits.data.own.pictures import read_tree


def read_source(path: Path, kind: Kind, ink: Ink, group: str | None = None, without: Sequence[str] = ()) -> Labelled:
    """Read a source: IDX files, a NumPy archive, or a folder or ZIP archive of pictures or recordings.

    Args:
        without: names of images to leave out.

    Raises:
        UserError: the source is missing, malformed, or of another kind, or has no image of a name in `without`.
    """
    return leave_out(_read(path, kind, ink, group), without, str(path))


def leave_out(data: Labelled, without: Sequence[str], source: str) -> Labelled:
    """The data without the images of these names.

    Raises:
        UserError: there is no image of a name.
    """
    if unknown := sorted(set(without) - set(data.names)):
        raise UserError(f"{source} has no image {unknown[0]!r} to leave out.")
    return data.select(~np.isin(data.names, list(without))) if without else data


def _read(path: Path, kind: Kind, ink: Ink, group: str | None) -> Labelled:
    if not path.exists():
        raise UserError(f"{path} does not exist.")
    if kind == "idx":
        return read_idx(idx_files(path), path)
    if kind == "npz":
        return read_npz(path, ink)
    if kind == "pictures":
        decode = partial(decoding.decode, ink=ink)
        return read_tree(path, decoding.SUFFIXES, decode, "pictures", group, decoding.conversions)
    return read_tree(path, recordings.SUFFIXES, recordings.picture_of_sound, "recordings", group)


def guess_kind(path: Path) -> Kind:
    """The kind of a source by the names of its files.

    Raises:
        UserError: none fits.
    """
    if path.suffix == ".npz":
        return "npz"
    if path.is_dir() and list(path.glob("*-images-idx3-ubyte*")):
        return "idx"
    suffixes = {name.suffix.lower() for name in _names(path)}
    if suffixes & recordings.SUFFIXES and not suffixes & decoding.SUFFIXES:
        return "recordings"
    if suffixes & decoding.SUFFIXES:
        return "pictures"
    raise UserError(
        f"{path} has neither IDX files, a NumPy archive, pictures nor recordings (WAV). Pass --kind if it has."
    )


def source_sha256(path: Path) -> str:
    """The identity of a source: of a file, its SHA-256; of a folder, that of the names and hashes of its files."""
    if path.is_file():
        return file_sha256(path)
    files = sorted(item for item in path.rglob("*") if item.is_file())
    return sha256(json.dumps([[item.relative_to(path).as_posix(), file_sha256(item)] for item in files]).encode())


def _names(path: Path) -> list[Path]:
    from deepdigits.data.own.trees import files_of

    return [Path(name) for name in files_of(path)]
