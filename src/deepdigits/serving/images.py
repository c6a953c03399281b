"""Converts pictures of any size to the input that MNIST networks expect."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

from deepdigits.serving.photos import BadImageError, ink_of, one_digit

SIZE, BOX = 28, 20  # MNIST: the ink fits a 20x20 box, and its centre of mass is the centre of 28x28
MAX_PIXELS = 50_000_000  # per file; each takes at most 8 bytes while the file is read
SIDE = 640  # pixels of the longer side after reduction; a digit that spans 8 % of it has 50 of them
FORMATS = ("PNG", "JPEG")
ORIENTATION = 0x0112  # EXIF tag
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(data: bytes, exact: int = SIZE) -> np.ndarray:
    """Read a PNG or JPEG as uint8 `(height, width)`: upright, with bright ink on a dark, evenly lit background.

    Larger pictures are reduced to a longer side of `SIDE`. A picture of `exact` x `exact` is already a network's input:
    it is inverted if its border is bright, like paper, and otherwise left unchanged.

    Raises:
        BadImageError: not a PNG or JPEG, damaged, or larger than `MAX_PIXELS`.
    """
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
            warnings.simplefilter("ignore")
            if image.width * image.height > MAX_PIXELS:
                raise BadImageError(
                    f"the picture has {image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are allowed"
                )
            grey = np.asarray(_upright_grey(image))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, BadImageError):
            raise
        raise BadImageError("the upload is not a readable PNG or JPEG") from None
    if grey.shape != (exact, exact):
        return ink_of(grey)
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    return np.asarray(255 - grey if np.median(border) > 127 else grey)


def longer_side(data: bytes) -> int:
    """The longer side, in pixels, of a picture that `decode` has already read."""
    with warnings.catch_warnings(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
        warnings.simplefilter("ignore")
        return max(image.size)


def as_mnist(ink: np.ndarray) -> np.ndarray:
    """Scale and centre the one digit in a picture as in MNIST (LeCun et al., 1998, doi:10.1109/5.726791).

    Its bounding box fits 20x20 with proportions kept. Its centre of mass lies in the middle of 28x28.

    Args:
        ink: uint8 `(height, width)`, bright on dark.

    Returns:
        uint8 `(28, 28)`.

    Raises:
        BadImageError: there is no ink, or there are several digits.
    """
    canvas = np.zeros((SIZE, SIZE), np.uint8)
    cut = one_digit(ink)
    scale = BOX / max(cut.shape)
    height, width = (max(1, round(length * scale)) for length in cut.shape)
    small = np.asarray(Image.fromarray(cut).resize((width, height), Image.Resampling.BOX))
    weights = small.astype(np.float64)
    total = max(weights.sum(), 1.0)
    middle = [float((weights.sum(axis=1 - axis) * np.arange(small.shape[axis])).sum() / total) for axis in (0, 1)]
    top, left = (
        int(np.clip(round((SIZE - 1) / 2 - centre), 0, SIZE - length))
        for centre, length in zip(middle, small.shape, strict=True)
    )
    canvas[top : top + height, left : left + width] = small
    return canvas


def to_png(images: np.ndarray, columns: int) -> bytes:
    """Arrange uint8 images `(n, 28, 28)` on one sheet, `columns` per row, and encode it as PNG."""
    rows = -(-len(images) // columns)
    sheet = np.zeros((rows * columns, SIZE, SIZE), np.uint8)
    sheet[: len(images)] = images
    flat = sheet.reshape(rows, columns, SIZE, SIZE).transpose(0, 2, 1, 3).reshape(rows * SIZE, columns * SIZE)
    buffer = io.BytesIO()
    Image.fromarray(flat).save(buffer, "PNG")
    return buffer.getvalue()


def _upright_grey(image: Image.Image) -> Image.Image:
    """Convert a picture to mode L, turned as EXIF says, and reduced as early as its format allows."""
    if max(image.size) > SIDE:
        image.draft("L", (SIDE, SIDE))  # a JPEG can be decoded at 1/2, 1/4 or 1/8 of its size
    image.load()
    turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    flat = image.convert("RGBA" if image.has_transparency_data else "L")
    flat.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    grey = _on_background(flat).convert("L") if flat.mode == "RGBA" else flat
    return grey if turn is None else grey.transpose(turn)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Reduce values of more than 8 bits, of which only 10 or 12 may be in use, to 8 bits."""
    values = np.asarray(image)
    bits = max(8, int(values.max(initial=0)).bit_length())
    return Image.fromarray((values >> (bits - 8)).astype(np.uint8))


def _on_background(clear: Image.Image) -> Image.Image:
    """Put a transparent drawing on a background that it stands out from; mode RGBA in and out."""
    grey, alpha = np.asarray(clear.convert("L"), np.float64), np.asarray(clear)[..., 3]
    tone = (grey * alpha).sum() / max(1, alpha.sum(dtype=np.int64))
    if (alpha > 127).mean() > 0.5:  # an opaque sheet with transparent corners, not ink
        tone = 255 - float(np.median(grey[alpha > 127]))
    background = Image.new("RGBA", clear.size, (255, 255, 255, 255) if tone < 127 else (0, 0, 0, 255))
    return Image.alpha_composite(background, clear)
