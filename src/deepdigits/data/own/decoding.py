"""Turns one picture, of any size and mode, into 28x28 grey values."""

from __future__ import annotations

import io
import warnings
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from deepdigits.data.own.labelled import SIDE

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm"})
MOST_PIXELS = 50_000_000
ORIENTATION = 0x0112  # EXIF tag
Ink = Literal["bright", "dark"]


class Undecodable(Exception):
    """The bytes are no picture that can be used; the message says why, for one line about a file."""


def decode(data: bytes, ink: Ink, formats: tuple[str, ...] | None = None) -> np.ndarray:
    """Grey values uint8 `(28, 28)` of one picture.

    The picture is turned as its EXIF data say, reduced with antialiasing to fit, and centred on a background of 0, or
    255 if the ink is dark. Colours become luminance (ITU-R 601), 16 bits become 8, and what is transparent becomes
    background.

    Args:
        formats: the only ones to accept, by Pillow's names; None accepts them all.

    Raises:
        Undecodable: see the class.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data), formats=formats)
            if picture.width * picture.height > MOST_PIXELS:
                raise Undecodable(f"it has more than {MOST_PIXELS:,} pixels")
            if getattr(picture, "n_frames", 1) > 1:
                raise Undecodable("it is animated or has several pages")
            picture.load()
    except UnidentifiedImageError:
        raise Undecodable(f"it is not a {' or '.join(formats or ['picture'])}") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Undecodable(f"it cannot be read ({error})") from None
    return fitted(to_grey(ImageOps.exif_transpose(picture), ink), ink)


def conversions(data: bytes) -> list[str]:
    """What `decode` changes about a picture that it can read, for a reader."""
    with Image.open(io.BytesIO(data)) as picture:
        grey, deep = picture.mode in ("1", "L", "LA", "La"), picture.mode.startswith("I")
        changes = {
            "turned as the EXIF data say": picture.getexif().get(ORIENTATION, 1) != 1,
            "scaled to fit 28x28": picture.size != (SIDE, SIDE),
            "colours turned into luminance": not grey and not deep,
            "16 bits reduced to 8": deep,
            "put on an empty background": picture.has_transparency_data,
        }
    return [change for change, made in changes.items() if made]


def to_grey(picture: Image.Image, ink: Ink) -> Image.Image:
    """The picture in mode L."""
    if picture.mode.startswith("I;16") or picture.mode == "I":
        values = np.asarray(picture, dtype=np.float64) / 257
        return Image.fromarray(values.round().clip(0, 255).astype(np.uint8))
    if picture.mode == "F":
        raise Undecodable("its pixels are floating-point numbers of unknown range")
    if picture.mode in ("P", "LA", "PA", "RGBA", "La", "RGBa") or "transparency" in picture.info:
        layered = picture.convert("RGBA")
        background = Image.new("RGBA", layered.size, (0, 0, 0, 255) if ink == "bright" else (255, 255, 255, 255))
        picture = Image.alpha_composite(background, layered)
    return picture.convert("RGB").convert("L") if picture.mode == "CMYK" else picture.convert("L")


def fitted(picture: Image.Image, ink: Ink) -> np.ndarray:
    """Reduce or enlarge to 28 pixels along the longer side, and centre."""
    if picture.size == (SIDE, SIDE):
        return np.array(picture)
    scale = SIDE / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    small = picture.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC)
    canvas = Image.new("L", (SIDE, SIDE), 0 if ink == "bright" else 255)
    canvas.paste(small, ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    return np.array(canvas)
