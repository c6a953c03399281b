"""Scenes of several digits, composed from the images of one split, with boxes and masks that are known exactly."""

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

INK = 0.5  # of a digit's own ink: where it covers more than this, a pixel belongs to the digit
LEAST_AREA = 12  # pixels; a digit with fewer is not placed
TRIES = 25  # to place one digit where it overlaps no other too much
FRAGMENT = 8  # pixels
SCENES_AT_ONCE = 100  # that a network answers for: a scene has nine times the pixels of a digit


@dataclass(frozen=True)
class Scenes:
    """Scenes and what is in them; one entry per digit in `scene` to `sources`, ordered by scene, then from below to
    above.

    Attributes:
        images: uint8 `(n, size, size)`, dark 0 to bright 255.
        semantic: uint8 `(n, size, size)`; 0 background, else 1 + the digit that lies uppermost there.
        instances: uint8 `(n, size, size)`, uint32 where a scene may have more than 8 digits; bit k is set where the
            scene's digit k has ink, also where another covers it.
        scene: int64 `(m,)`, the row of the scene.
        boxes: int64 `(m, 4)`, COCO's x, y, width, height in pixels: the least box around the digit's ink.
        labels: int64 `(m,)`, 0 to 9.
        sources: int64 `(m,)`, the row of the digit in its split.
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
    """Draw `count` scenes of digits from `split`. Each scene has a random stream of its own, by (seed, row): the same
    scene comes out whatever other scenes are drawn.

    A digit that finds no place within `TRIES` is left out, so a crowded scene may have fewer digits than were drawn
    for it.
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
            [_uppermost(one.instances, labels[rows[one.kept]]) for rows, one in zip(parts, drawn, strict=True)]
        ),
        instances=np.stack([one.instances for one in drawn]),
        scene=np.repeat(np.arange(count), [len(one.kept) for one in drawn]),
        boxes=np.concatenate([one.boxes for one in drawn]).astype(np.int64),
        labels=labels[kept],
        sources=sources[kept],
    )


def _warp(images: np.ndarray, streams: list[np.random.Generator], numbers: np.ndarray, style: SceneStyle) -> np.ndarray:
    """Each digit scaled and turned by its scene's stream: float32 `(m, side, side)` in 0 to 1, its middle kept."""
    amounts = np.concatenate([rng.uniform(size=(n, 2)) for rng, n in zip(streams, numbers, strict=True)])
    scale = style.scale.smallest + amounts[:, 0] * (style.scale.largest - style.scale.smallest)
    angle = np.radians(style.rotate_degrees) * (2 * amounts[:, 1] - 1)
    side = 2 * math.ceil(0.6 * images.shape[1] * style.scale.largest)
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    # Rounded, since processors give different last digits; what follows is equal on all x86-64.
    back = np.stack([cos, sin, -sin, cos], axis=1).reshape(-1, 2, 2).round(9)
    middle = (images.shape[1] - 1) / 2 - back.sum(axis=2) * (side - 1) / 2
    patches = np.empty((len(images), side, side), np.float32)
    for image, turn, corner, patch in zip(images / np.float32(255), back, middle, patches, strict=True):
        affine_transform(image, turn, corner, patch.shape, patch, order=1, mode="grid-constant")
    return patches


@dataclass(frozen=True)
class _Drawn:
    image: np.ndarray  # uint8 (size, size)
    instances: np.ndarray  # uint8 (size, size)
    kept: list[int]  # which of the digits found a place
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
    """Slow shading, and on it fragments of digits, `(size, size)` in 0 to 1."""
    size = style.size
    place = np.linspace(0, 3, size)
    blend = np.clip(1 - np.abs(place[:, None] - np.arange(4)), 0, 1)  # bilinear between 4 x 4 values
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
    """Left, top, width and height of what is true; all 0 where nothing is."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if len(rows) == 0:
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1


def _overlap(patch: np.ndarray, left: int, top: int, size: int) -> tuple[tuple[slice, slice], np.ndarray]:
    """Where a patch with its corner at (left, top) lies on the canvas, and the part of it that does."""
    side = len(patch)
    rows = slice(max(top, 0), min(top + side, size))
    columns = slice(max(left, 0), min(left + side, size))
    return (rows, columns), patch[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]


def _uppermost(instances: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """1 + the label of the highest bit that is set, 0 where none is."""
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
    """The digits of each scene as float32 `(n, places, 5)`: label, x, y, width, height; an empty place is all -1."""
    counts = np.bincount(scenes.scene, minlength=len(scenes))
    targets = np.full((len(scenes), counts.max(initial=1), 5), -1, np.float32)
    numbers = numbers_in_scene(scenes.scene)
    targets[scenes.scene, numbers, 0] = scenes.labels
    targets[scenes.scene, numbers, 1:] = scenes.boxes
    return targets


def numbers_in_scene(scene: np.ndarray) -> np.ndarray:
    """The number of each digit within its scene, from 0: int64 `(m,)` for rows of scenes `(m,)`, ascending."""
    return np.arange(len(scene)) - np.searchsorted(scene, scene)


def save_scenes(scenes: Scenes, path: Path) -> None:
    write_npz(path, {field.name: getattr(scenes, field.name) for field in fields(Scenes)})


def load_scenes(path: Path) -> Scenes:
    """Read what `save_scenes` wrote.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Scenes(**{field.name: arrays[field.name] for field in fields(Scenes)})
    except FileNotFoundError:
        raise UserError(f"{path} is missing. Run: dvc repro compose") from None
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise UserError(f"{path} is damaged ({error}). Run: dvc repro --force compose") from None
