"""A strict parser for IDX, the file format of MNIST.

Layout (big-endian): two zero bytes, one byte for the element type, one byte for the number of dimensions,
one unsigned 32-bit size per dimension, then the elements in row-major order.
Source: http://yann.lecun.com/exdb/mnist/ ("THE IDX FILE FORMAT").
"""

from __future__ import annotations

import math
import struct

import numpy as np

from deepdigits.core.errors import UserError

UINT8 = 0x08
MAX_ELEMENTS = 2**28  # 256 MiB: several times the size of MNIST, but far too little to exhaust a small machine


class IdxError(UserError):
    """The bytes are not an IDX file of the expected kind."""


class IdxMagicError(IdxError):
    """The first two bytes are not zero."""


class IdxTypeError(IdxError):
    """The elements are not unsigned bytes."""


class IdxDimensionError(IdxError):
    """The number of dimensions, or their sizes, are not as expected."""


class IdxTruncatedError(IdxError):
    """The file ends before its header or its elements are complete."""


class IdxTrailingBytesError(IdxError):
    """There are extra bytes after the last element."""


def parse_idx(data: bytes, name: str, item_shape: tuple[int, ...] = ()) -> np.ndarray:
    """Parse unsigned bytes of shape `(n, *item_shape)`.

    Args:
        data: the whole decompressed file.
        name: the file name to use in error messages.
        item_shape: the expected shape of one item: `(28, 28)` for images, `()` for labels.

    Returns:
        A read-only uint8 array of shape `(n, *item_shape)`, values 0 to 255.

    Raises:
        IdxMagicError, IdxTypeError, IdxDimensionError, IdxTruncatedError, IdxTrailingBytesError: see each class.
    """
    if len(data) < 4:
        raise IdxTruncatedError(f"{name}: {len(data)} byte(s) is too short for an IDX header (4 bytes).")
    if data[:2] != b"\x00\x00":
        raise IdxMagicError(f"{name}: not an IDX file: it starts with 0x{data[:2].hex()}, expected 0x0000.")
    kind, rank = data[2], data[3]
    if kind != UINT8:
        raise IdxTypeError(f"{name}: element type 0x{kind:02x}, expected 0x{UINT8:02x} (unsigned byte).")
    expected_rank = 1 + len(item_shape)
    if rank != expected_rank:
        raise IdxDimensionError(f"{name}: {rank} dimension(s), expected {expected_rank}.")
    start = 4 + 4 * rank
    if len(data) < start:
        raise IdxTruncatedError(f"{name}: the header ends after {len(data)} of {start} bytes.")
    shape = struct.unpack(f">{rank}I", data[4:start])
    if shape[1:] != item_shape:
        raise IdxDimensionError(f"{name}: items of shape {shape[1:]}, expected {item_shape}.")
    size = math.prod(shape)
    if size > MAX_ELEMENTS:
        raise IdxDimensionError(f"{name}: the header claims {size} elements, more than the {MAX_ELEMENTS} allowed.")
    found = len(data) - start
    if found < size:
        raise IdxTruncatedError(f"{name}: truncated: only {found} of {size} element bytes are present.")
    if found > size:
        raise IdxTrailingBytesError(f"{name}: {found - size} byte(s) follow the last element.")
    return np.frombuffer(data, dtype=np.uint8, offset=start).reshape(shape)


def encode_idx(array: np.ndarray) -> bytes:
    """Encode a uint8 array as IDX bytes; the inverse of `parse_idx`."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, UINT8, array.ndim, *array.shape)
    return header + np.ascontiguousarray(array, dtype=np.uint8).tobytes()
