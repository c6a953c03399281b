"""datasets/NAME.yaml: data of one's own, described once, and turned into params for the pipeline."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field
from ruamel.yaml import YAML

from deepdigits.data.described import FOLDER, Described, Expected, Kind, Splitting, part, read_described
from deepdigits.data.digits.splits import Split
from deepdigits.data.own.labelled import Labelled, bright
from deepdigits.data.validation.frame import class_frame, image_frame
from deepdigits.data.validation.neighbours import label_disagreement
from deepdigits.release.floors import Judged

# How far a band reaches beyond what was measured, as a share of the distance or of the value itself.
MARGIN = 0.25
MNIST_IMAGES = 54_000  # about as many training images as params.yaml is made for


class Dataset(Described, Expected, Judged):
    """The contents of datasets/NAME.yaml.

    Attributes:
        licence: what one may do with the data.
        floors: by model; a model without floors is packaged whatever its figures are, and the summary says so.
        params: changes to params.yaml, which `make repro DATASET=NAME` applies.
    """

    licence: str
    params: dict[str, Any] = Field(default_factory=dict)


def read_dataset(root: Path, name: str) -> Dataset:
    """Read datasets/NAME.yaml.

    Raises:
        UserError: the file is missing or invalid.
    """
    return part(read_described(root, name), Dataset, f"{FOLDER}/{name}.yaml")


def draft(
    name: str, path: Path, kind: Kind, ink: Literal["bright", "dark"], sha256: str, data: Labelled, split: Splitting,
    rows: Mapping[str, np.ndarray], without: Sequence[str],
) -> str:  # fmt: skip
    """The text of a new datasets/NAME.yaml, with bands around what the training split measures."""
    splits = {part: bright(data.take(chosen), ink) for part, chosen in rows.items()}
    facts = {
        "title": name.capitalize(),
        "source": str(path),
        "licence": "unknown",
        "kind": kind,
        "where": {"path": str(path), "sha256": sha256},
        "ink": ink,
        "uploads": "fitted",
        "glyphs": False,
        "classes": list(data.classes),
        "split": split.model_dump(exclude_none=True, exclude_defaults=True)
        | {"validation": split.validation, "test": split.test, "seed": split.seed},
        "images": {part: len(chosen) for part, chosen in rows.items()},
        "without": list(without),
        "bands": measured_bands(splits, len(data.classes)),
        "floors": {},
        "params": fitting_params(len(rows["train"])),
    }
    buffer = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style, yaml.sort_base_mapping_type_on_output = None, False  # type: ignore[assignment]
    yaml.width = 4096  # never break a line
    yaml.dump(facts, buffer)
    return HEADER.format(name=name) + buffer.getvalue()


HEADER = """# Drafted by `deepdigits dataset add {name}`. Correct title, source, licence, classes and bands.
# Floors are optional, e.g. floors: {{cnn: {{min_accuracy: 0.9}}}}; params are changes to params.yaml.
# Then run: make repro DATASET={name}
"""


def fitting_params(images: int) -> dict[str, Any]:
    """Shorter epochs for less than MNIST's training images: a pass over them, but no fewer steps than networks need."""
    if images >= MNIST_IMAGES:
        return {}
    return {
        "train_cnn": {"fit": {"steps_per_epoch": max(20, images // 256)}},
        "train_rnn": {"fit": {"steps_per_epoch": max(40, images // 128)}},
        "train_gan": {"steps_per_epoch": max(100, images // 64)},
    }


def measured_bands(splits: Mapping[str, Split], classes: int) -> dict[str, Any]:
    """Bands that the given splits meet, with a margin, rounded for a reader."""
    images = image_frame(splits)
    by_class = class_frame(splits, classes)
    by_split = images.groupby("split")
    squares = (images["std"] ** 2 + images["mean"] ** 2).groupby(images["split"]).mean()
    deviation = np.sqrt(squares - by_split["mean"].mean() ** 2)
    centres = np.concatenate([images["center_row"], images["center_column"]])
    return {
        "pixel_mean": _band(by_split["mean"].mean(), 0, 255),
        "pixel_std": _band(deviation, 0, 255),
        "ink_fraction": _band(by_split["ink"].mean(), 0, 1),
        "image_mean": _band(images["mean"], -1, 256),
        "center": _band(np.quantile(centres, (0.0005, 0.9995)), -1.5, 28),
        "class_share": _band(by_class["share"], 0, 1),
        "max_class_shift": _above(by_class["shift"].max()),
        "min_class_separation": _below(by_class["separation"].min()),
        "max_label_disagreement": min(1.0, _above(max(label_disagreement(splits).values()) + 0.02)),
        "darkest": int(min(255, images["low"].max() * (1 + MARGIN))),
        "brightest": int(images["high"].min() * (1 - MARGIN)),
        "contrast": _below(images["std"].min()),
    }


def _band(values: Any, least: float, most: float) -> dict[str, float]:
    low, high = float(np.min(values)), float(np.max(values))
    room = max(MARGIN * (high - low), 0.05 * abs(high), 0.01)
    return {"low": round(max(least, low - room), 3), "high": round(min(most, high + room), 3)}


def _above(value: float) -> float:
    return round(float(value) * (1 + MARGIN) + 0.001, 3)


def _below(value: float) -> float:
    return round(max(0.001, float(value) * (1 - MARGIN)), 3)
