"""Pictures of any size, lighting, polarity and position become what MNIST would have made of them."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw

from benchmarks.photo_set import ORIENTATION, STORED_AS, photos
from deepdigits.data.digits.splits import Split
from deepdigits.serving.images import MAX_PIXELS, SIDE, as_mnist, decode, longer_side, to_png
from deepdigits.serving.photos import BadImageError
from deepdigits.serving.placing import place


def drawn(size: int = 200, offset: tuple[int, int] = (0, 0), scale: float = 1.0) -> np.ndarray:
    """A seven drawn in thick strokes."""
    image = Image.new("L", (size, size))
    points = [(offset[0] + scale * x, offset[1] + scale * y) for x, y in ((40, 40), (110, 40), (70, 140))]
    ImageDraw.Draw(image).line(points, fill=255, width=int(16 * scale), joint="curve")
    return np.asarray(image)


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def centre(image: np.ndarray) -> np.ndarray:
    weights = image.astype(float)
    return np.array([(weights.sum(axis=1 - axis) * np.arange(28)).sum() for axis in (0, 1)]) / weights.sum()


def test_ink_fills_twenty_pixels_around_its_centre_of_mass() -> None:
    small = as_mnist(drawn())
    rows = np.flatnonzero((small > 25).any(axis=1))
    assert rows[-1] - rows[0] + 1 in (19, 20)
    assert np.abs(centre(small) - 13.5).max() <= 0.51


def test_position_and_size_of_the_drawing_do_not_matter() -> None:
    reference = as_mnist(drawn()).astype(float)
    assert np.array_equal(as_mnist(drawn(offset=(35, 20))), reference)
    larger = as_mnist(drawn(400, scale=2.0)).astype(float)
    assert np.abs(larger - reference).mean() < 3


@given(arrays(np.uint8, st.tuples(st.integers(1, 60), st.integers(1, 60))))
@settings(max_examples=60, deadline=None)
def test_any_picture_becomes_28_by_28_or_is_refused(ink: np.ndarray) -> None:
    with contextlib.suppress(BadImageError):
        small = as_mnist(ink)
        assert (small.shape, small.dtype) == ((28, 28), np.uint8)
        assert small.any()


def lit(paper: float, ink: float, fall: float = 0, size: int = 300) -> np.ndarray:
    """The seven in ink of tone `ink`, on paper of tone `paper`; the light falls off by `fall` from left to right."""
    coverage = drawn(size) / 255
    return (paper + (ink - paper) * coverage - fall * np.linspace(0, 1, size)).clip(0, 255).astype(np.uint8)


NOISE = np.random.default_rng(0).normal(0, 5, (300, 300))
BLANK = {
    "black": np.zeros((50, 50), np.uint8),
    "white": np.full((300, 300), 255, np.uint8),
    "grey, with noise": (200 + NOISE).astype(np.uint8),
    "with a shadow": (lit(220, 220, 70) + NOISE).clip(0, 255).astype(np.uint8),
    "ruled": np.where((np.arange(300) % 30 < 2)[:, None], 150, 225 + NOISE).astype(np.uint8),
}


@pytest.mark.parametrize("kind", BLANK)
def test_a_picture_without_ink_is_refused(kind: str) -> None:
    with pytest.raises(BadImageError, match="no ink"):
        as_mnist(decode(encoded(Image.fromarray(BLANK[kind]))))


def test_several_digits_are_refused_and_the_detector_is_named() -> None:
    two_digits = np.maximum(drawn(400), drawn(400, (200, 180)))
    with pytest.raises(BadImageError, match="several digits.*/v1/detect"):
        as_mnist(decode(encoded(Image.fromarray(255 - two_digits))))


def test_dust_and_marks_cut_off_by_the_edge_are_ignored() -> None:
    image = Image.fromarray(drawn(300))
    pen = ImageDraw.Draw(image)
    pen.ellipse((250, 250, 254, 254), fill=255)
    pen.rectangle((0, 0, 20, 300), fill=255)
    assert np.array_equal(as_mnist(np.asarray(image)), as_mnist(drawn(300)))


@pytest.mark.parametrize(
    ("paper", "ink", "fall"),
    [(255, 0, 0), (225, 20, 0), (205, 60, 0), (120, 30, 0), (220, 40, 70), (200, 150, 80), (30, 220, 0), (30, 70, 0)],
)
def test_paper_tone_and_lighting_do_not_matter(paper: int, ink: int, fall: int) -> None:
    found = as_mnist(decode(encoded(Image.fromarray(lit(paper, ink, fall)))))
    assert np.abs(found.astype(int) - as_mnist(drawn(300))).mean() < 4


def test_a_dark_table_beside_the_sheet_is_ignored() -> None:
    photo = np.full((300, 400), 40, np.uint8)
    photo[:, :330] = lit(220, 30, 40)[:, :300].repeat([2] * 30 + [1] * 270, axis=1)
    found = as_mnist(decode(encoded(Image.fromarray(photo))))
    assert np.corrcoef(found.ravel(), as_mnist(drawn(300)).ravel())[0, 1] > 0.8


@pytest.mark.parametrize("angle", range(-6, 7, 3))
def test_grid_lines_are_removed_and_strokes_across_them_kept(angle: int) -> None:
    page = Image.new("L", (900, 900), 225)
    pen = ImageDraw.Draw(page)
    for at in range(10, 900, 45):
        pen.line((at, 0, at, 900), fill=130, width=2)
        pen.line((0, at, 900, at), fill=130, width=2)
    paper = np.asarray(page.rotate(angle, Image.Resampling.BICUBIC))[200:700, 200:700]
    seven = drawn(500, (60, 60), 2.0)
    found = as_mnist(decode(encoded(Image.fromarray(np.where(seven > 0, 100, paper).astype(np.uint8)))))
    assert np.corrcoef(found.ravel(), as_mnist(seven).ravel())[0, 1] > 0.9


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_is_oriented_as_exif_says(orientation: int, kind: str) -> None:
    upright = Image.fromarray(255 - drawn()[:, :150])
    stored = upright.transpose(STORED_AS[orientation]) if orientation in STORED_AS else upright
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[ORIENTATION] = orientation
    stored.save(buffer, kind, exif=exif)
    found = decode(buffer.getvalue())
    assert found.shape == (200, 150)
    assert np.abs(found.astype(int) - decode(encoded(upright, kind))).mean() < 1


@pytest.mark.parametrize("maximum", [65535, 4095, 1023])
def test_more_than_eight_bits_are_scaled_by_their_range(maximum: int) -> None:
    grey = lit(200, 40, 50)
    deep = Image.fromarray((grey / 255 * maximum).round().astype(np.uint16))
    assert np.abs(decode(encoded(deep)).astype(int) - decode(encoded(Image.fromarray(grey)))).mean() < 2


@pytest.mark.parametrize("mode", ["1", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LA"])
def test_every_image_mode_is_read_alike(mode: str) -> None:
    grey = Image.fromarray(lit(220, 30))
    kind = "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"
    image = grey.convert("1", dither=Image.Dither.NONE) if mode == "1" else grey.convert(mode)
    assert np.abs(as_mnist(decode(encoded(image, kind))).astype(int) - as_mnist(drawn(300))).mean() < 4


def test_pictures_come_out_close_to_the_digits_they_were_made_from(digits: tuple[Split, Split]) -> None:
    """scikit-learn's digits are blurred and pens differ in width, so even a correct result is far from equal: 37 of 40
    are above 0.5."""
    correlations = []
    for photo in photos(digits[1], 40, 3):
        with contextlib.suppress(BadImageError):
            pair = as_mnist(decode(photo.data)), digits[1].images[photo.source]
            correlations.append(np.corrcoef(pair[0].ravel(), pair[1].ravel())[0, 1])
    assert len(correlations) >= 39
    assert np.mean(np.array(correlations) > 0.5) >= 0.9
    assert np.median(correlations) > 0.65


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1", "RGBA"])
def test_a_28_by_28_picture_is_left_as_is(mode: str, kind: str, digits: tuple[Split, Split]) -> None:
    if kind == "JPEG" and mode in ("P", "1", "RGBA"):
        pytest.skip("JPEG has no such mode")
    for image in (*digits[1].images[:5], 255 - digits[1].images[0]):
        data = encoded(Image.fromarray(image).convert(mode), kind)
        plain = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
        assert np.array_equal(decode(data), 255 - plain if np.median(plain[0]) > 127 else plain)


def test_a_phone_photo_is_downscaled_but_boxes_are_in_its_own_pixels() -> None:
    photo = Image.new("RGB", (4032, 3024), (215, 210, 200))
    photo.paste((40, 40, 60), (3000, 2000, 3100, 2600))
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[ORIENTATION] = 6
    photo.save(buffer, "JPEG", exif=exif)
    ink = decode(buffer.getvalue())
    assert ink.shape == (SIDE, SIDE * 3 // 4)
    rows, columns = np.nonzero(ink > 127)
    scene = place(ink, 84, longer_side(buffer.getvalue()))
    scale = 84 / SIDE
    corner = np.array([columns.min() * scale + scene.left, rows.min() * scale + scene.top, 0, 0])
    assert np.abs(np.array(scene.back(corner)[:2]) - (3024 - 2600, 3000)).max() < 15


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_ink_on_paper_is_inverted(kind: str) -> None:
    paper = Image.fromarray(255 - drawn())
    assert np.abs(decode(encoded(paper, kind)).astype(int) - drawn()).mean() < 2


@pytest.mark.parametrize("opacity", [1, 0.3])
@pytest.mark.parametrize("ink", [(255, 255, 255), (0, 0, 0), (40, 20, 200)])
def test_ink_on_a_transparent_background_is_found(ink: tuple[int, int, int], opacity: float) -> None:
    alpha = (opacity * drawn()).astype(np.uint8)
    layers = [np.full_like(alpha, value) for value in ink]
    image = decode(encoded(Image.fromarray(np.dstack([*layers, alpha]), "RGBA")))
    assert np.corrcoef(image.ravel(), alpha.ravel())[0, 1] > 0.99


@pytest.mark.parametrize(
    "data",
    [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", encoded(Image.fromarray(drawn()))[:200]],
    ids=["empty", "GIF", "signature only", "truncated"],
)
def test_data_that_is_not_a_picture_is_refused(data: bytes) -> None:
    with pytest.raises(BadImageError, match="not a readable PNG or JPEG"):
        decode(data)


def test_other_formats_are_refused_even_if_pillow_reads_them() -> None:
    with pytest.raises(BadImageError):
        decode(encoded(Image.new("L", (28, 28)), "BMP"))


def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    bomb = encoded(Image.new("1", (MAX_PIXELS // 1000 + 1, 1000)))
    assert len(bomb) < 10_000
    with pytest.raises(BadImageError, match="at most 50,000,000 are allowed"):
        decode(bomb)


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"]))
def test_arbitrary_bytes_raise_no_other_error(data: bytes, start: bytes) -> None:
    with contextlib.suppress(BadImageError):
        assert decode(start + data).dtype == np.uint8


def test_a_sheet_holds_all_images_in_rows() -> None:
    images = np.stack([np.full((28, 28), 20 * index, np.uint8) for index in range(12)])
    sheet = np.asarray(Image.open(io.BytesIO(to_png(images, 10))))
    assert sheet.shape == (56, 280)
    assert (sheet[30, 5], sheet[5, 30], sheet[30, 60]) == (200, 20, 0)
