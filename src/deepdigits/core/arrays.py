"""Reads arrays from untrusted files."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path

import numpy as np

from deepdigits.core.errors import UserError

HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of an uncompressed `.npz` by name. Nothing in it is unpickled.

    Memory use is bounded by the file's size, whatever shapes its headers declare.

    Raises:
        UserError: the file is missing or corrupt, or contains anything but such arrays.
    """
    try:
        length = path.stat().st_size
        with zipfile.ZipFile(path) as file:
            return {info.filename.removesuffix(".npy"): _array(file, info, length) for info in file.infolist()}
    except Exception as error:  # zipfile and NumPy's header parser raise a dozen types on corrupt bytes
        raise UserError(f"Cannot read arrays from {path.name}: {error}.") from None


def _array(file: zipfile.ZipFile, info: zipfile.ZipInfo, length: int) -> np.ndarray:
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or info.file_size > length:
        raise ValueError(f"{info.filename} is compressed or larger than the file")
    stream = io.BytesIO(file.read(info))
    shape, fortran, dtype = HEADERS[np.lib.format.read_magic(stream)](stream)
    if dtype.hasobject:
        raise ValueError(f"{info.filename} contains Python objects")
    data = stream.read()
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"{info.filename} declares shape {shape} but contains {len(data):,} bytes")
    # A bytearray makes the array writable: PyTorch warns about read-only ones.
    return np.frombuffer(bytearray(data), dtype).reshape(shape, order="F" if fortran else "C")
