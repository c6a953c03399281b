"""Pictures of any size to what MNIST's networks expect."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

SIZE, BOX = 28, 20  # MNIST: the ink fits a box of 20, and its centre of mass is the centre of 28
MAX_PIXELS = 4_000_000
FORMATS = ("PNG", "JPEG")


class BadImageError(ValueError):
    """The upload is no picture that can be read; the message says why."""


def decode(data: bytes) -> np.ndarray:
    """Read a PNG or JPEG as uint8 `(height, width)`, ink bright on dark.

    A picture whose border is bright, as paper is, is inverted.

    Raises:
        BadImageError: no PNG or JPEG, damaged, or larger than `MAX_PIXELS`.
    """
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
            warnings.simplefilter("ignore")
            if image.width * image.height > MAX_PIXELS:
                raise BadImageError(
                    f"the picture has {image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are read"
                )
            grey = np.asarray(_on_black(image).convert("L"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, BadImageError):
            raise
        raise BadImageError("the upload is no PNG or JPEG that can be read") from None
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    return np.asarray(255 - grey if np.median(border) > 127 else grey)


def as_mnist(ink: np.ndarray) -> np.ndarray:
    """Scale and centre ink as MNIST was made (LeCun et al., 1998, doi:10.1109/5.726791): its bounding box fits 20x20
    with its proportions kept, its centre of mass lies in the middle of 28x28.

    Args:
        ink: uint8 `(height, width)`, bright on dark; anything below a tenth of the brightest counts as empty.

    Returns:
        uint8 `(28, 28)`; empty where there is no ink.
    """
    canvas = np.zeros((SIZE, SIZE), np.uint8)
    inked = ink > max(25, ink.max(initial=0) // 10)
    if not inked.any():
        return canvas
    rows, columns = np.flatnonzero(inked.any(axis=1)), np.flatnonzero(inked.any(axis=0))
    cut = np.where(inked, ink, 0)[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = BOX / max(cut.shape)
    height, width = (max(1, round(length * scale)) for length in cut.shape)
    small = np.asarray(Image.fromarray(cut).resize((width, height), Image.Resampling.LANCZOS))
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
    """A sheet of uint8 images `(n, 28, 28)`, `columns` in a row, as PNG."""
    rows = -(-len(images) // columns)
    sheet = np.zeros((rows * columns, SIZE, SIZE), np.uint8)
    sheet[: len(images)] = images
    flat = sheet.reshape(rows, columns, SIZE, SIZE).transpose(0, 2, 1, 3).reshape(rows * SIZE, columns * SIZE)
    buffer = io.BytesIO()
    Image.fromarray(flat).save(buffer, "PNG")
    return buffer.getvalue()


def _on_black(image: Image.Image) -> Image.Image:
    """Transparent pixels become black ones, or white ones where what is drawn is dark."""
    if "A" not in image.getbands() and "transparency" not in image.info:
        return image
    clear = image.convert("RGBA")
    drawn = np.asarray(clear)[np.asarray(clear)[..., 3] > 127][:, :3]
    dark = len(drawn) > 0 and drawn.mean() < 127
    ground = Image.new("RGBA", clear.size, (255, 255, 255, 255) if dark else (0, 0, 0, 255))
    return Image.alpha_composite(ground, clear)
