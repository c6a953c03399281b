"""The dataset manifest: name, source, counts and hashes. Equal content gives equal hashes, wherever it came from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepdigits.core.errors import UserError
from deepdigits.core.files import read_json, sha256
from deepdigits.data.digits.splits import Split


@dataclass(frozen=True)
class Origin:
    """What a dataset is called, who made it, and the names of its classes in the order of their labels."""

    name: str
    title: str
    source: str
    classes: Sequence[str]


def describe(
    origin: Origin, splits: Mapping[str, Split], files: Mapping[str, bytes], split_seed: int
) -> dict[str, Any]:
    """Build the manifest: the SHA-256 of each raw file, and the counts and SHA-256 of each split.

    `sha256` identifies the whole dataset: equal values mean equal images and labels, in the same order, in every split.
    """
    described = {key: _describe_split(split, len(origin.classes)) for key, split in splits.items()}
    content = {key: [entry["images_sha256"], entry["labels_sha256"]] for key, entry in described.items()}
    return {
        "name": origin.name,
        "title": origin.title,
        "source": origin.source,
        "classes": list(origin.classes),
        "sha256": sha256(json.dumps(content, sort_keys=True).encode()),
        "files": {key: {"sha256": sha256(data), "bytes": len(data)} for key, data in files.items()},
        "splits": described,
        "split_seed": split_seed,
    }


def validated_manifest(manifest_file: Path, verdict_file: Path) -> Any:
    """Read the manifest, provided the verdict says that exactly these data met every expectation.

    DVC runs no further stage after a failed validation. This check also covers stages started by hand.

    Raises:
        UserError: a file is missing, validation failed, or the verdict belongs to different data.
    """
    manifest, verdict = read_json(manifest_file), read_json(verdict_file)
    remedy = f"Run: dvc repro {verdict_file.stem}"
    if verdict["dataset.sha256"] != manifest["sha256"]:
        raise UserError(f"{verdict_file} is stale: {manifest_file} describes different data. {remedy}")
    if verdict["success"] is not True:
        raise UserError(f"{verdict_file}: the data failed validation, so training is blocked. {remedy}")
    return manifest


def _describe_split(split: Split, classes: int) -> dict[str, Any]:
    return {
        "count": len(split),
        "class_counts": np.bincount(split.labels, minlength=classes).tolist(),
        "images_sha256": sha256(np.ascontiguousarray(split.images).tobytes()),
        "labels_sha256": sha256(split.labels.astype("<i8").tobytes()),
    }
