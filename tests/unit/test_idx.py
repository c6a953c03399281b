import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from deepdigits.data.ingest import idx
from deepdigits.data.ingest.idx import encode_idx, parse_idx

images = st.integers(0, 4).flatmap(lambda n: arrays(np.uint8, (n, 3, 2)))


@given(images)
def test_parsing_reverses_encoding(array: np.ndarray) -> None:
    assert np.array_equal(parse_idx(encode_idx(array), "f", (3, 2)), array)


@given(images, st.data())
def test_every_cut_is_reported_as_truncation(array: np.ndarray, data: st.DataObject) -> None:
    whole = encode_idx(array)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(idx.IdxTruncatedError):
        parse_idx(whole[:cut], "f", (3, 2))


@given(images, st.binary(min_size=1, max_size=9))
def test_trailing_bytes_are_an_error(array: np.ndarray, extra: bytes) -> None:
    with pytest.raises(idx.IdxTrailingBytesError, match=f"{len(extra)} byte"):
        parse_idx(encode_idx(array) + extra, "f", (3, 2))


@given(st.binary(max_size=64))
def test_arbitrary_bytes_are_parsed_or_refused_with_the_file_name(data: bytes) -> None:
    try:
        assert parse_idx(data, "f").ndim == 1
    except idx.IdxError as error:
        assert str(error).startswith("f: ")


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"\x1f\x8b\x08\x01" + bytes(8), idx.IdxMagicError),
        (struct.pack(">BBBBI", 0, 0, 0x0D, 1, 1) + bytes(4), idx.IdxTypeError),
        (struct.pack(">BBBBII", 0, 0, 8, 2, 1, 1) + bytes(1), idx.IdxDimensionError),
        (struct.pack(">BBBBI", 0, 0, 8, 1, 2**31), idx.IdxDimensionError),
    ],
    ids=["gzip", "float elements", "two dimensions", "claims two gigabytes"],
)
def test_each_fault_has_its_own_error(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        parse_idx(data, "labels")


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(idx.IdxDimensionError, match=r"\(27, 28\), expected \(28, 28\)"):
        parse_idx(encode_idx(np.zeros((1, 27, 28), np.uint8)), "images", (28, 28))
