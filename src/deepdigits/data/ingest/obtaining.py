"""Obtains the images that a description names: from this machine, from addresses, or bundled with scikit-learn."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deepdigits.core.addresses import masked
from deepdigits.core.errors import UserError
from deepdigits.data.described import FOLDER, Described
from deepdigits.data.ingest.sources import Downloader, Unreachable, digits_splits, fetch_all, own_mirror, raw_bytes
from deepdigits.data.own.arrays import read_idx
from deepdigits.data.own.labelled import Labelled
from deepdigits.data.own.reading import leave_out, read_source, source_sha256


@dataclass(frozen=True)
class Obtained:
    """Images as their source has them.

    Attributes:
        raw: what `ingest` keeps of the source, by file name: the files themselves if they are IDX files, otherwise
            their hashes.
        origins: where they came from, without secrets.
    """

    data: Labelled
    raw: Mapping[str, bytes]
    origins: tuple[str, ...]


def obtain(name: str, described: Described, downloader: Downloader) -> Obtained:
    """Read the images of the data set `name`, whose content must be the one that is described.

    Raises:
        Unreachable: none of the addresses answers, and the user has named no mirror.
        UserError: the source is missing, malformed or not what is described.
    """
    if described.kind == "bundled":
        found = bundled()
    elif described.where.path:
        found = _from_path(name, described, Path(described.where.path).expanduser())
    else:
        found = _from_addresses(name, described, downloader)
    if len(found.data.classes) != len(described.classes):
        raise UserError(
            f"{name} has {len(found.data.classes)} classes, but {FOLDER}/{name}.yaml names {len(described.classes)}."
        )
    return found


def bundled() -> Obtained:
    """scikit-learn's digits."""
    train, test = digits_splits()
    names = [f"{prefix}[{row}]" for prefix, split in (("train", train), ("test", test)) for row in range(len(split))]
    splits = np.repeat(["train", "test"], [len(train), len(test)])
    images, labels = np.concatenate([train.images, test.images]), np.concatenate([train.labels, test.labels])
    data = Labelled(images, labels, tuple("0123456789"), names, splits)
    return Obtained(data, raw_bytes(train, test), ("scikit-learn",))


def _from_path(name: str, described: Described, source: Path) -> Obtained:
    found = source_sha256(source) if source.exists() else "missing"
    if found != described.where.sha256:
        raise UserError(
            f"{source} is {found[:12]}, but {FOLDER}/{name}.yaml describes {str(described.where.sha256)[:12]}. "
            f"To see what has changed: deepdigits dataset check {name}"
        )
    data = read_source(source, described.kind, described.ink, described.split.group, described.without)
    return Obtained(data, _listed({source.name: found}), (source.name,))


def _from_addresses(name: str, described: Described, downloader: Downloader) -> Obtained:
    variable, packed = mirror_variable(name), described.kind == "idx"
    mirror = own_mirror(os.environ.get(variable, ""), variable)
    settings = replace(downloader, cache=downloader.cache / name, packed=packed, variable=variable)
    try:
        fetched = fetch_all(described.where.urls, settings, described.where.files, mirror)
    except Unreachable as error:
        if mirror:  # a user who names a mirror wants its data, never a replacement
            raise UserError(f"{error}\nCheck {variable} and the network, or unset it.") from None
        raise
    files = {file_name: item.data for file_name, item in fetched.items()}
    origins = tuple(sorted({masked(item.mirror) for item in fetched.values()}))
    if packed:
        data = read_idx(files, Path(name), len(described.classes))
        return Obtained(leave_out(data, described.without, name), files, origins)
    ((file_name, content),) = files.items()
    with tempfile.TemporaryDirectory() as folder:
        (path := Path(folder) / file_name).write_bytes(content)
        data = read_source(path, described.kind, described.ink, described.split.group, described.without)
    return Obtained(data, _listed(described.where.files), origins)


def mirror_variable(name: str) -> str:
    """The environment variable that names a folder or an address to use before the described ones: MNIST_MIRROR."""
    return f"{name.upper().replace('-', '_')}_MIRROR"


def _listed(files: Mapping[str, str]) -> dict[str, bytes]:
    return {"files.json": json.dumps(dict(files), indent=2).encode() + b"\n"}
