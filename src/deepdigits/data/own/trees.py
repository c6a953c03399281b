"""Lists the files of a folder or a ZIP archive, and reads them, without writing anything."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from deepdigits.core.errors import UserError

MOST_BYTES = 64 * 2**20  # per file
Read = Callable[[], bytes]


def files_of(source: Path) -> dict[PurePosixPath, Read]:
    """Every file below a folder or in a ZIP archive, by its path relative to it, in sorted order.

    Hidden files, and what macOS adds to archives, are left out. If everything lies in one folder, it is left out of the
    paths. `Read` raises an OSError or a `zipfile.BadZipFile` if a file cannot be read.

    Raises:
        UserError: the source is neither, or an archive's path leads out of it.
    """
    if source.is_dir():
        found = {
            PurePosixPath(path.relative_to(source).as_posix()): _bounded(path)
            for path in source.rglob("*")
            if path.is_file()
        }
    elif zipfile.is_zipfile(source):
        found = _members(source)
    else:
        raise UserError(f"{source} is neither a folder nor a ZIP archive.")
    kept = {path: read for path, read in found.items() if not _is_hidden(path)}
    while len({path.parts[0] for path in kept}) == 1 and all(len(path.parts) > 2 for path in kept):
        kept = {PurePosixPath(*path.parts[1:]): read for path, read in kept.items()}
    return dict(sorted(kept.items(), key=lambda item: str(item[0])))


def _members(source: Path) -> dict[PurePosixPath, Read]:
    archive = zipfile.ZipFile(source)
    found = {}
    for info in archive.infolist():
        path = PurePosixPath(info.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            raise UserError(
                f"{source}: the path {info.filename!r} leads out of the archive. Do not trust it; make a new one."
            )
        if not info.is_dir():
            found[path] = _member(archive, info)
    return found


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Read:
    def read() -> bytes:
        if info.file_size > MOST_BYTES:
            raise OSError(f"it has more than {MOST_BYTES:,} bytes")
        with archive.open(info) as file:
            return file.read(MOST_BYTES)

    return read


def _bounded(path: Path) -> Read:
    def read() -> bytes:
        if path.stat().st_size > MOST_BYTES:
            raise OSError(f"it has more than {MOST_BYTES:,} bytes")
        return path.read_bytes()

    return read


def _is_hidden(path: PurePosixPath) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
