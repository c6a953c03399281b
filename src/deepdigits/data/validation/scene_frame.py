"""The three pandas frames of scene statistics that are validated before training."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import pandas as pd

from deepdigits.data.digits.splits import Split
from deepdigits.data.scenes.config import SceneStyle
from deepdigits.data.scenes.scenes import Scenes, box_iou, numbers_in_scene


def digit_frame(
    scenes: Mapping[str, Scenes], origins: Mapping[str, Split], styles: Mapping[str, SceneStyle]
) -> pd.DataFrame:
    """Build a frame with one row per digit.

    Columns: `digit` (split/scene/number), `split`, `label`; `width` and `height` of the box, and `margin` (pixels from
    the box to the nearest edge of the scene, negative if it extends beyond the edge); `area` of the mask in pixels;
    `box_error` (largest distance in pixels between a side of the box and that side of the mask); `overlap` (highest
    intersection over union with another box in the scene) and `most_overlap`, the maximum allowed; `named` (whether the
    label is that of the source image); `leaked` (whether an image with the same pixels was used in the scenes of
    another split).
    """
    hashes = {name: _hashes(origins[name], one.sources) for name, one in scenes.items()}
    parts = []
    for name, one in scenes.items():
        elsewhere = set().union(*(hashes[other] for other in scenes if origins[other] is not origins[name]))
        columns = _of_split(name, one, origins[name])
        leaked = [pixels in elsewhere for pixels in hashes[name]]
        parts.append(columns.assign(most_overlap=styles[name].max_overlap, leaked=leaked))
    return pd.concat(parts, ignore_index=True)


def scene_frame(scenes: Mapping[str, Scenes], styles: Mapping[str, SceneStyle]) -> pd.DataFrame:
    """Build a frame with one row per scene.

    Columns: `scene` (split/row), `split`; `digits`, the number of digits, and `most`, the maximum allowed; `mean` and
    `std` of the pixels on the 0 to 255 scale; `mask_mismatch` (pixels where semantic and instance masks disagree about
    whether there is a digit); `sha256` of the pixels.
    """
    parts = []
    for name, one in scenes.items():
        pixels = one.images.reshape(len(one), -1).astype(np.float32)
        columns = {
            "scene": [f"{name}/{row}" for row in range(len(one))],
            "split": name,
            "digits": np.bincount(one.scene, minlength=len(one)),
            "most": styles[name].digits.most,
            "mean": pixels.mean(axis=1),
            "std": pixels.std(axis=1),
            "mask_mismatch": ((one.semantic > 0) != (one.instances > 0)).sum(axis=(1, 2)),
            "sha256": [hashlib.sha256(image.tobytes()).hexdigest() for image in one.images],
        }
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def scene_split_frame(
    scenes: Mapping[str, Scenes], origins: Mapping[str, Split], expected: Mapping[str, int], classes: int
) -> pd.DataFrame:
    """Build a frame with one row per split.

    Columns: `split`, `count`, `expected_count`, `digits` (mean per scene), and `least_share` and `greatest_share`: each
    digit's share of the scenes, relative to its share of the images that they are composed from.
    """
    rows = []
    for name, one in scenes.items():
        counts = (np.bincount(labels, minlength=classes)[:classes] for labels in (one.labels, origins[name].labels))
        found, given = counts
        shares = found / max(1, found.sum()) / (np.maximum(given, 1) / given.sum())
        rows.append(
            {
                "split": name,
                "count": len(one),
                "expected_count": expected[name],
                "digits": len(one.labels) / max(1, len(one)),
                "least_share": float(shares.min()),
                "greatest_share": float(shares.max()),
            }
        )
    return pd.DataFrame(rows)


def mask_boxes(scenes: Scenes) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounding box of each digit's instance mask, int64 `(m, 4)`, and the mask's area in pixels, `(m,)`.

    A digit without a mask has the box 0, 0, 0, 0.
    """
    numbers = numbers_in_scene(scenes.scene)
    boxes, areas = np.zeros((len(numbers), 4), np.int64), np.zeros(len(numbers), np.int64)
    for number in range(numbers.max(initial=-1) + 1):
        rows = np.flatnonzero(numbers == number)
        masks = (scenes.instances[scenes.scene[rows]] >> number & 1).astype(bool)
        areas[rows] = masks.sum(axis=(1, 2))
        for axis, (low, size) in ((1, (0, 2)), (2, (1, 3))):
            ink = masks.any(axis=axis)
            start = ink.argmax(axis=1)
            boxes[rows, low] = start
            boxes[rows, size] = np.where(ink.any(axis=1), ink.shape[1] - ink[:, ::-1].argmax(axis=1) - start, 0)
    return boxes, areas


def _of_split(name: str, one: Scenes, origin: Split) -> pd.DataFrame:
    numbers = numbers_in_scene(one.scene)
    found, areas = mask_boxes(one)
    x, y, width, height = one.boxes.T
    rows, columns = one.images.shape[1:]
    margins = np.stack([x, y, columns - x - width, rows - y - height])
    return pd.DataFrame(
        {
            "digit": [f"{name}/{row}/{number}" for row, number in zip(one.scene, numbers, strict=True)],
            "split": name,
            "label": one.labels,
            "width": width,
            "height": height,
            "margin": margins.min(axis=0),
            "area": areas,
            "box_error": _side_errors(one.boxes, found),
            "overlap": _overlaps(one),
            "named": origin.labels[one.sources] == one.labels,
        }
    )


def _side_errors(boxes: np.ndarray, found: np.ndarray) -> np.ndarray:
    def ends(of: np.ndarray) -> np.ndarray:
        return np.concatenate([of[:, :2], of[:, :2] + of[:, 2:]], axis=1)

    return np.asarray(np.abs(ends(boxes) - ends(found)).max(axis=1, initial=0))


def _overlaps(one: Scenes) -> np.ndarray:
    worst = np.zeros(len(one.scene))
    for rows in np.split(np.arange(len(one.scene)), np.cumsum(np.bincount(one.scene, minlength=len(one)))[:-1]):
        shared = box_iou(one.boxes[rows], one.boxes[rows])
        np.fill_diagonal(shared, 0)
        worst[rows] = shared.max(axis=1, initial=0)
    return worst


def _hashes(split: Split, rows: np.ndarray) -> list[str]:
    own = {row: hashlib.sha256(split.images[row].tobytes()).hexdigest() for row in np.unique(rows)}
    return [own[row] for row in rows]
