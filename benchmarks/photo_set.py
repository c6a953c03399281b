"""Generates digits as people send them: written on paper or a screen, photographed or scanned, in many file formats.

Each picture has its own random stream, seeded with (seed, row), so it does not depend on what else is generated.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates
from skimage.morphology import skeletonize

from deepdigits.data.digits.splits import Split

DIGIT = 160  # longer side in pixels of a digit's master copy
MARGIN = 60
ORIENTATION = 0x0112  # EXIF tag
# The inverse of each EXIF orientation, so that a viewer shows the picture upright.
STORED_AS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
STORAGES = ("jpeg", "jpeg grey", "jpeg CMYK", "png", "png grey", "palette", "16 bits", "12 of 16 bits", "opaque RGBA")
# The background's tone (0 to 255), its colour, and whether the ink is bright.
GROUNDS: dict[str, tuple[tuple[int, int], tuple[float, float, float], bool]] = {
    "white paper": ((226, 255), (1.0, 1.0, 1.0), False),
    "grey paper": ((120, 225), (1.0, 1.0, 1.0), False),
    "kraft paper": ((150, 190), (1.12, 0.96, 0.72), False),
    "dark mode": ((18, 50), (1.0, 1.0, 1.0), True),
}
# The fraction of the background's light that the ink absorbs, the ink's colour, and the stroke width as a fraction of
# the digit's height. (0, 0) keeps the original width.
PENS: dict[str, tuple[tuple[float, float], tuple[float, float, float], tuple[float, float]]] = {
    "pen": ((0.65, 0.92), (1.0, 1.0, 1.0), (0.0, 0.0)),
    "blue pen": ((0.6, 0.85), (1.0, 0.85, 0.45), (0.05, 0.09)),
    "ballpoint": ((0.6, 0.9), (1.0, 1.0, 1.0), (0.045, 0.07)),
    "marker": ((0.75, 0.95), (1.0, 1.0, 1.0), (0.17, 0.22)),
    "pencil": ((0.35, 0.55), (1.0, 1.0, 1.0), (0.05, 0.1)),
    "faint pencil": ((0.18, 0.32), (1.0, 1.0, 1.0), (0.06, 0.1)),
}


@dataclass(frozen=True)
class Photo:
    """A picture and what is known about it.

    Attributes:
        data: the encoded file.
        label: 0 to 9.
        source: the row of the digit in its split.
        traits: how it was made, e.g. `{"ground": "kraft paper", "size": "8 to 20 %"}`.
    """

    data: bytes
    label: int
    source: int
    traits: dict[str, str]


def photos(split: Split, count: int, seed: int) -> Iterator[Photo]:
    """Generate `count` pictures of digits from `split`."""
    for row in range(count):
        yield photo(split, np.random.default_rng([seed, row]))


def photo(split: Split, rng: np.random.Generator) -> Photo:
    """Generate one picture; everything about it is drawn from `rng`."""
    source = int(rng.integers(len(split)))
    traits, page = _choices(rng)
    coverage, over = _written(split.images[source], page, traits, rng)
    if traits["storage"] == "transparent":
        picture = _transparent(coverage, rng)
    else:
        picture = _photographed(coverage, over, traits, rng)
    data = _stored(picture, traits, rng)
    return Photo(data, int(split.labels[source]), source, traits)


@dataclass(frozen=True)
class _Page:
    height: int
    width: int
    digit: float  # longer side of the digit in pixels
    middle: tuple[float, float]  # of the digit, relative to the middle of the page: right and down
    tilt: tuple[float, float]  # degrees about the vertical and horizontal axes


def _choices(rng: np.random.Generator) -> tuple[dict[str, str], _Page]:
    ground = str(rng.choice(list(GROUNDS), p=[0.3, 0.4, 0.15, 0.15]))
    screen = ground == "dark mode"
    share = float(np.exp(rng.uniform(np.log(0.08), np.log(0.9))))
    side = int(rng.integers(max(240, int(24 / share)), 900))
    height, width = ((side, side), (side, side * 4 // 3), (side * 4 // 3, side))[rng.integers(3)]
    free = np.maximum(0, np.array([width, height]) / 2 - 0.62 * share * side - 0.03 * side)
    tilted = share < 0.75 and not screen and rng.uniform() < 0.6
    traits = {
        "ground": ground,
        "light": "even" if screen else str(rng.choice(["even", "falls off", "shadow", "vignette"])),
        "lines": "none" if screen else str(rng.choice(["none", "ruled", "squares"], p=[0.6, 0.2, 0.2])),
        "pen": str(rng.choice(list(PENS))),
        "size": "8 to 20 %" if share < 0.2 else "20 to 45 %" if share < 0.45 else "45 to 90 %",
        "noise": str(rng.choice(["none", "some", "strong"], p=[0.3, 0.5, 0.2])),
        "blur": str(rng.choice(["sharp", "blurred"], p=[0.6, 0.4])),
        "view": "tilted" if tilted else "straight",
        "storage": str(rng.choice([*STORAGES, "1 bit", "transparent"])),
        "orientation": str(rng.integers(1, 9)),
    }
    if traits["storage"] == "1 bit":  # a scan: even light, clean, no faint ink
        traits |= {"light": "even", "lines": "none", "noise": "none", "view": "straight"}
        traits["pen"] = traits["pen"] if "pencil" not in traits["pen"] else "pen"
    if traits["storage"] == "transparent":
        traits |= {"ground": "none", "light": "even", "lines": "none", "noise": "none", "blur": "sharp"}
    offset = rng.uniform(-1, 1, 2) * free
    tilt = rng.uniform(-15, 15, 2) if traits["view"] == "tilted" else np.zeros(2)
    middle, angles = (float(offset[0]), float(offset[1])), (float(tilt[0]), float(tilt[1]))
    return traits, _Page(height, width, share * side, middle, angles)


def _written(
    image: np.ndarray, page: _Page, traits: dict[str, str], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The fraction of each pixel that the digit's ink covers, and the page's lines: both `(height, width)`, 0 to 1."""
    x, y = _on_page(page)
    distance = _master(image, PENS[traits["pen"]][2], rng)
    scale = DIGIT / page.digit
    middle = (np.array(distance.shape) - 1) / 2
    down, right = (y - page.middle[1]) * scale + middle[0], (x - page.middle[0]) * scale + middle[1]
    inside = map_coordinates(distance, [down, right], order=1, mode="constant", cval=-1e3)
    coverage = np.clip(0.5 + inside / scale, 0, 1)
    return coverage, _lines(x, y, page, traits["lines"], rng)


def _on_page(page: _Page) -> tuple[np.ndarray, np.ndarray]:
    """Map each pixel to the point on the page that it sees, in pixels from the page's middle.

    The camera is above the page, tilted about two axes.
    """
    across, up = np.radians(page.tilt)
    about_y = np.array([[np.cos(across), 0, np.sin(across)], [0, 1, 0], [-np.sin(across), 0, np.cos(across)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(up), -np.sin(up)], [0, np.sin(up), np.cos(up)]])
    turn = about_x @ about_y
    far = 1.3 * max(page.height, page.width)
    seen = turn[:, :2].copy()  # the page lies in the plane z = 0, its middle in front of the camera
    matrix = np.column_stack([seen * [[1], [1], [1 / far]], [0, 0, 1]])
    back = np.linalg.inv(matrix)
    rows, columns = np.mgrid[: page.height, : page.width].astype(np.float64)
    rays = np.stack([columns - (page.width - 1) / 2, rows - (page.height - 1) / 2, np.ones_like(rows)])
    x, y, depth = np.tensordot(back, rays, 1)
    return x / depth, y / depth


def _master(image: np.ndarray, widths: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """The enlarged digit as signed distances to the edge of its ink, in pixels, positive inside."""
    rows, columns = np.flatnonzero(image.max(axis=1) > 60), np.flatnonzero(image.max(axis=0) > 60)
    cut = np.pad(image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 2)
    factor = DIGIT / (max(cut.shape) - 4)
    size = round(cut.shape[1] * factor), round(cut.shape[0] * factor)
    large = np.asarray(Image.fromarray(cut).resize(size, Image.Resampling.BICUBIC), np.float64)
    ink = np.pad(gaussian_filter(large, 0.35 * factor) > 110, MARGIN)
    if widths[1] == 0:
        return np.asarray(distance_transform_edt(ink) - distance_transform_edt(~ink))
    spine = skeletonize(ink)
    half = rng.uniform(*widths) * DIGIT / 2
    narrow = half - distance_transform_edt(~spine)
    return np.asarray(narrow)


def _lines(x: np.ndarray, y: np.ndarray, page: _Page, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Lines or squares on the page, as wide as printed ones."""
    apart = page.digit * rng.uniform(0.45, 1.6)
    half = max(0.5, rng.uniform(0.004, 0.012) * apart)
    strength = rng.uniform(0.1, 0.3)
    start = rng.uniform(size=2)

    def ruled(place: np.ndarray, begin: float) -> np.ndarray:
        nearest = np.abs((place / apart + begin + 0.5) % 1 - 0.5) * apart
        return np.clip(half - nearest + 0.5, 0, 1)

    if kind == "none":
        return np.zeros_like(x)
    lines = ruled(y, start[0])
    return strength * (np.maximum(lines, ruled(x, start[1])) if kind == "squares" else lines)


def _photographed(
    coverage: np.ndarray, lines: np.ndarray, traits: dict[str, str], rng: np.random.Generator
) -> Image.Image:
    """Render ink and lines on the background, with its lighting, through the lens: an RGB picture."""
    tones, tint, bright = GROUNDS[traits["ground"]]
    strengths, colour, _ = PENS[traits["pen"]]
    tone, strength = rng.uniform(*tones), rng.uniform(*strengths)
    if "pencil" in traits["pen"]:  # graphite leaves the paper's valleys white
        grain = gaussian_filter(rng.standard_normal(coverage.shape), 1.0)
        coverage = coverage * np.clip(1 + 0.25 * grain / grain.std(), 0.2, 1.5)
    light = _light(coverage.shape, traits["light"], rng)
    height = max(coverage.shape)
    channels = []
    for shade, takes in zip(tint, colour, strict=True):
        ground = np.full(coverage.shape, tone * shade) * (1 - lines)
        seen = ground + (255 - ground) * strength * coverage if bright else ground * (1 - takes * strength * coverage)
        channels.append(seen * light)
    picture = np.stack(channels, axis=-1)
    if traits["blur"] == "blurred":
        picture = gaussian_filter(picture, (*[rng.uniform(0.001, 0.003) * height] * 2, 0))
    sigma = {"none": 0.0, "some": rng.uniform(1, 4), "strong": rng.uniform(4, 10)}[traits["noise"]]
    picture = picture + sigma * rng.standard_normal((*coverage.shape, 1))
    return Image.fromarray(picture.clip(0, 255).round().astype(np.uint8), "RGB")


def _light(shape: tuple[int, ...], kind: str, rng: np.random.Generator) -> np.ndarray:
    """The fraction of light that reaches each pixel, at most 1."""
    down, right = np.meshgrid(*(np.linspace(-1, 1, side) for side in shape), indexing="ij")
    angle = rng.uniform(0, 2 * np.pi)
    along = np.cos(angle) * right + np.sin(angle) * down
    dark = rng.uniform(0.3, 0.45)
    if kind == "falls off":  # e.g. from 220 to 150
        return np.asarray(1 - dark * (along - along.min()) / np.ptp(along))
    if kind == "shadow":  # of a hand or a phone
        soft = rng.uniform(0.02, 0.15)
        return np.asarray(1 - dark / (1 + np.exp((along - rng.uniform(-0.5, 0.5)) / soft)))
    if kind == "vignette":
        return np.asarray(1 - dark * (down**2 + right**2) / 2)
    return np.ones(shape)


def _transparent(coverage: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """Ink on a transparent background: white, black, coloured or translucent."""
    colour = ((255, 255, 255), (0, 0, 0), (30, 40, 160), (250, 220, 90))[rng.integers(4)]
    opacity = rng.uniform(0.35, 1)
    layers = [np.full(coverage.shape, value, np.uint8) for value in colour]
    return Image.fromarray(np.dstack([*layers, (255 * opacity * coverage).round().astype(np.uint8)]), "RGBA")


def _stored(picture: Image.Image, traits: dict[str, str], rng: np.random.Generator) -> bytes:
    """Encode the picture in the format that `traits` name, turned as its EXIF orientation says."""
    storage, orientation = traits["storage"], int(traits["orientation"])
    if orientation in STORED_AS:
        picture = picture.transpose(STORED_AS[orientation])
    if storage == "1 bit":
        grey = np.asarray(picture.convert("L"))
        picture = Image.fromarray(grey > (int(grey.min()) + int(grey.max())) / 2)
    elif storage in ("16 bits", "12 of 16 bits"):
        most = 65535 if storage == "16 bits" else 4095
        picture = Image.fromarray((np.asarray(picture.convert("L")) / 255 * most).round().astype(np.uint16))
    elif storage == "palette":
        picture = picture.quantize(64)
    elif storage == "opaque RGBA":
        picture = picture.convert("RGBA")
    elif storage == "jpeg CMYK":
        picture = picture.convert("CMYK")
    elif "grey" in storage:
        picture = picture.convert("L")
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    buffer = io.BytesIO()
    if storage.startswith("jpeg"):
        picture.save(buffer, "JPEG", quality=int(rng.integers(70, 96)), exif=exif)
    else:
        picture.save(buffer, "PNG", exif=exif, compress_level=1)
    return buffer.getvalue()
