"""Compose scenes of several digits from the images of one split, with exact ground-truth boxes and masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from scipy.ndimage import affine_transform

from deepdigits.core.errors import UserError
from deepdigits.core.files import write_npz
from deepdigits.core.pixels import to_bytes
from deepdigits.data.digits.splits import Split
from deepdigits.data.scenes.config import SceneStyle

INK = 0.5  # a pixel belongs to a digit if the digit's own ink exceeds this there
LEAST_AREA = 12  # pixels; smaller digits are not placed
TRIES = 25  # attempts to place one digit without too much overlap
FRAGMENT = 8  # side in pixels
SCENES_AT_ONCE = 100  # batch size for inference: a scene has nine times the pixels of a digit


@dataclass(frozen=True)
class Scenes:
    """`n` scenes and the `m` digits in them.

    The arrays from `scene` to `sources` have one entry per digit, ordered by scene, then from bottom to top layer.

    Attributes:
        images: uint8 `(n, size, size)`, from 0 (dark) to 255 (bright).
        semantic: uint8 `(n, size, size)`; 0 for background, otherwise 1 + the topmost digit.
        instances: uint8 `(n, size, size)`, or uint32 if a scene can have more than 8 digits; bit k is set where the
            scene's digit k has ink, even where another digit covers it.
        scene: int64 `(m,)`, the row of the scene.
        boxes: int64 `(m, 4)`, COCO's x, y, width, height in pixels: the tight bounding box of the digit's ink.
        labels: int64 `(m,)`, from 0.
        sources: int64 `(m,)`, the row of the source image in its split.
    """

    images: np.ndarray
    semantic: np.ndarray
    instances: np.ndarray
    scene: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    sources: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


def compose(split: Split, count: int, style: SceneStyle, seed: Sequence[int]) -> Scenes:
    """Compose `count` scenes of digits from `split`.

    Each scene has its own random stream, seeded with (seed, row), so a scene does not depend on which others are
    composed.

    A digit that cannot be placed within `TRIES` attempts is left out, so a crowded scene may have fewer digits than
    were drawn for it.
    """
    streams = [np.random.default_rng([*seed, row]) for row in range(count)]
    numbers = np.array([rng.integers(style.digits.least, style.digits.most + 1) for rng in streams])
    sources = np.concatenate([rng.integers(len(split), size=n) for rng, n in zip(streams, numbers, strict=True)])
    patches = _warp(split.images[sources], streams, numbers, style)
    parts = np.split(np.arange(len(sources)), np.cumsum(numbers)[:-1])
    drawn = [_draw(rng, patches[rows], split, style) for rng, rows in zip(streams, parts, strict=True)]
    kept = np.concatenate([rows[one.kept] for rows, one in zip(parts, drawn, strict=True)])
    labels = split.labels[sources]
    return Scenes(
        images=np.stack([one.image for one in drawn]),
        semantic=np.stack(
            [_topmost(one.instances, labels[rows[one.kept]]) for rows, one in zip(parts, drawn, strict=True)]
        ),
        instances=np.stack([one.instances for one in drawn]),
        scene=np.repeat(np.arange(count), [len(one.kept) for one in drawn]),
        boxes=np.concatenate([one.boxes for one in drawn]).astype(np.int64),
        labels=labels[kept],
        sources=sources[kept],
    )


def _warp(images: np.ndarray, streams: list[np.random.Generator], numbers: np.ndarray, style: SceneStyle) -> np.ndarray:
    """Scale and rotate each digit about its centre with its scene's stream: float32 `(m, side, side)` in [0, 1]."""
    amounts = np.concatenate([rng.uniform(size=(n, 2)) for rng, n in zip(streams, numbers, strict=True)])
    scale = style.scale.smallest + amounts[:, 0] * (style.scale.largest - style.scale.smallest)
    angle = np.radians(style.rotate_degrees) * (2 * amounts[:, 1] - 1)
    side = 2 * math.ceil(0.6 * images.shape[1] * style.scale.largest)
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    # Rounded because the last digits vary between processors. From here on, results are equal on every x86-64 CPU.
    inverse = np.stack([cos, sin, -sin, cos], axis=1).reshape(-1, 2, 2).round(9)
    offsets = (images.shape[1] - 1) / 2 - inverse.sum(axis=2) * (side - 1) / 2
    patches = np.empty((len(images), side, side), np.float32)
    for image, matrix, offset, patch in zip(images / np.float32(255), inverse, offsets, patches, strict=True):
        affine_transform(image, matrix, offset, patch.shape, patch, order=1, mode="grid-constant")
    return patches


@dataclass(frozen=True)
class _Drawn:
    image: np.ndarray  # uint8 (size, size)
    instances: np.ndarray  # uint8 (size, size)
    kept: list[int]  # which digits could be placed
    boxes: np.ndarray  # int (kept, 4)


def _draw(rng: np.random.Generator, patches: np.ndarray, split: Split, style: SceneStyle) -> _Drawn:
    size = style.size
    canvas = _background(rng, split, style)
    instances = np.zeros((size, size), np.uint8 if style.digits.most <= 8 else np.uint32)
    kept: list[int] = []
    boxes = np.zeros((0, 4), int)
    for number, patch in enumerate(patches):
        left, top, width, height = _ink_box(patch > INK)
        ink, offsets = rng.uniform(style.faintest_ink, 1), rng.uniform(size=(TRIES, 2))
        if (patch > INK).sum() < LEAST_AREA or max(width, height) > size:
            continue
        corners = np.floor(offsets * (size - width + 1, size - height + 1)).astype(int)
        tried = np.concatenate([corners, np.broadcast_to((width, height), (TRIES, 2))], axis=1)
        free = np.flatnonzero((box_iou(tried, boxes) <= style.max_overlap).all(axis=1))
        if len(free) == 0:
            continue
        box = tried[free[0]]
        region, inside = _overlap(patch, box[0] - left, box[1] - top, size)
        canvas[region] = canvas[region] * (1 - inside) + ink * inside
        instances[region] |= (inside > INK).astype(instances.dtype) << len(kept)
        kept.append(number)
        boxes = np.concatenate([boxes, box[None]])
    canvas += rng.uniform(0, style.noise) * rng.standard_normal((size, size))
    return _Drawn(to_bytes(canvas), instances, kept, boxes)


def _background(rng: np.random.Generator, split: Split, style: SceneStyle) -> np.ndarray:
    """Smooth shading with fragments of digits on top, `(size, size)` in [0, 1]."""
    size = style.size
    place = np.linspace(0, 3, size)
    blend = np.clip(1 - np.abs(place[:, None] - np.arange(4)), 0, 1)  # bilinear interpolation of 4 x 4 values
    canvas = style.brightest_background * blend @ rng.uniform(size=(4, 4)) @ blend.T
    for _ in range(rng.integers(style.fragments + 1)):
        source = split.images[rng.integers(len(split))] / 255
        row, column = rng.integers(4, source.shape[0] - FRAGMENT - 3, size=2)
        top, left = rng.integers(size - FRAGMENT + 1, size=2)
        piece = rng.uniform(0.3, 0.8) * source[row : row + FRAGMENT, column : column + FRAGMENT]
        where = canvas[top : top + FRAGMENT, left : left + FRAGMENT]
        np.maximum(where, piece, out=where)
    return np.asarray(canvas)


def _ink_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, width and height of the true pixels; all 0 if there are none."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if len(rows) == 0:
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1


def _overlap(patch: np.ndarray, left: int, top: int, size: int) -> tuple[tuple[slice, slice], np.ndarray]:
    """The region of the canvas that a patch with its corner at (left, top) covers, and the part of the patch in it."""
    side = len(patch)
    rows = slice(max(top, 0), min(top + side, size))
    columns = slice(max(left, 0), min(left + side, size))
    return (rows, columns), patch[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]


def _topmost(instances: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """1 + the label of the highest bit set, or 0 if no bit is set."""
    found = np.zeros(instances.shape, np.uint8)
    for number, label in enumerate(labels):
        found[instances >> number & 1 == 1] = 1 + label
    return found


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of COCO boxes `(n, 4)` and `(m, 4)`: float `(n, m)`."""
    a, b = first[:, None].astype(np.float64), second[None].astype(np.float64)
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    shared = (high - low).clip(0).prod(axis=-1)
    return np.asarray(shared / (a[..., 2:].prod(axis=-1) + b[..., 2:].prod(axis=-1) - shared))


def detection_targets(scenes: Scenes) -> np.ndarray:
    """The digits of each scene as float32 `(n, slots, 5)`: label, x, y, width, height; an empty slot is all -1."""
    counts = np.bincount(scenes.scene, minlength=len(scenes))
    targets = np.full((len(scenes), counts.max(initial=1), 5), -1, np.float32)
    numbers = numbers_in_scene(scenes.scene)
    targets[scenes.scene, numbers, 0] = scenes.labels
    targets[scenes.scene, numbers, 1:] = scenes.boxes
    return targets


def numbers_in_scene(scene: np.ndarray) -> np.ndarray:
    """The index of each digit within its scene, from 0: int64 `(m,)`, given ascending scene rows `(m,)`."""
    return np.arange(len(scene)) - np.searchsorted(scene, scene)


def save_scenes(scenes: Scenes, path: Path) -> None:
    write_npz(path, {field.name: getattr(scenes, field.name) for field in fields(Scenes)})


def load_scenes(path: Path) -> Scenes:
    """Read what `save_scenes` wrote.

    Raises:
        UserError: the file is missing or corrupt.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Scenes(**{field.name: arrays[field.name] for field in fields(Scenes)})
    except FileNotFoundError:
        raise UserError(f"{path} is missing. Run: dvc repro compose") from None
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise UserError(f"{path} is corrupt ({error}). Run: dvc repro --force compose") from None
