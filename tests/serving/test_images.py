"""Pictures of any size, polarity and place become what MNIST would have made of them."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw

from deepdigits.serving.images import MAX_PIXELS, BadImageError, as_mnist, decode, to_png


def drawn(size: int = 200, move: tuple[int, int] = (0, 0), scale: float = 1.0) -> np.ndarray:
    """A seven in thick strokes."""
    image = Image.new("L", (size, size))
    points = [(move[0] + scale * x, move[1] + scale * y) for x, y in ((40, 40), (110, 40), (70, 140))]
    ImageDraw.Draw(image).line(points, fill=255, width=int(16 * scale), joint="curve")
    return np.asarray(image)


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def centre(image: np.ndarray) -> np.ndarray:
    weights = image.astype(float)
    return np.array([(weights.sum(axis=1 - axis) * np.arange(28)).sum() for axis in (0, 1)]) / weights.sum()


def test_ink_fills_twenty_pixels_about_its_centre_of_mass() -> None:
    small = as_mnist(drawn())
    rows = np.flatnonzero((small > 25).any(axis=1))
    assert rows[-1] - rows[0] + 1 in (19, 20)
    assert np.abs(centre(small) - 13.5).max() <= 0.51


def test_place_and_size_of_the_drawing_do_not_matter() -> None:
    reference = as_mnist(drawn()).astype(float)
    assert np.array_equal(as_mnist(drawn(move=(35, 20))), reference)
    larger = as_mnist(drawn(400, scale=2.0)).astype(float)
    assert np.abs(larger - reference).mean() < 3


@given(arrays(np.uint8, st.tuples(st.integers(1, 60), st.integers(1, 60))))
@settings(max_examples=60)
def test_any_picture_becomes_one_of_28_by_28(ink: np.ndarray) -> None:
    small = as_mnist(ink)
    assert (small.shape, small.dtype) == ((28, 28), np.uint8)
    assert small.any() or ink.max(initial=0) <= 255


def test_an_empty_picture_stays_empty() -> None:
    assert not as_mnist(np.zeros((50, 50), np.uint8)).any()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_ink_on_paper_is_inverted(kind: str) -> None:
    paper = Image.fromarray(255 - drawn())
    assert np.abs(decode(encoded(paper, kind)).astype(int) - drawn()).mean() < 2


@pytest.mark.parametrize("ink", [(255, 255, 255), (0, 0, 0), (40, 20, 200)])
def test_ink_on_a_transparent_ground_is_seen(ink: tuple[int, int, int]) -> None:
    alpha = drawn()
    layers = [np.full_like(alpha, value) for value in ink]
    image = decode(encoded(Image.fromarray(np.dstack([*layers, alpha]), "RGBA")))
    assert np.corrcoef(image.ravel(), alpha.ravel())[0, 1] > 0.99


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", encoded(Image.fromarray(drawn()))[:200]], ids=range(4)
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(BadImageError, match="no PNG or JPEG"):
        decode(data)


def test_other_formats_are_refused_even_if_pillow_reads_them() -> None:
    with pytest.raises(BadImageError):
        decode(encoded(Image.new("L", (28, 28)), "BMP"))


def test_a_small_file_with_many_pixels_is_refused_before_it_is_unpacked() -> None:
    bomb = encoded(Image.new("1", (MAX_PIXELS // 1000 + 1, 1000)))
    assert len(bomb) < 10_000
    with pytest.raises(BadImageError, match="at most 4,000,000 are read"):
        decode(bomb)


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"]))
def test_no_bytes_give_another_error(data: bytes, start: bytes) -> None:
    with contextlib.suppress(BadImageError):
        assert decode(start + data).dtype == np.uint8


def test_a_sheet_holds_all_images_in_rows() -> None:
    images = np.stack([np.full((28, 28), 20 * index, np.uint8) for index in range(12)])
    sheet = np.asarray(Image.open(io.BytesIO(to_png(images, 10))))
    assert sheet.shape == (56, 280)
    assert (sheet[30, 5], sheet[5, 30], sheet[30, 60]) == (200, 20, 0)
