"""What the data are: name, source, counts and hashes, the same for the same content wherever it came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepdigits.core.errors import UserError
from deepdigits.core.files import read_json, sha256
from deepdigits.core.sections import DatasetName
from deepdigits.data.digits.splits import Split

TITLES: dict[DatasetName, str] = {
    "mnist": "MNIST handwritten digits",
    "digits": "scikit-learn's bundled digits, enlarged to 28x28 (offline fallback, not MNIST)",
}
SOURCES: dict[DatasetName, str] = {
    "mnist": "LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist/",
    "digits": "Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, https://doi.org/10.24432/C50P49",
}


def describe(
    name: DatasetName, splits: Mapping[str, Split], files: Mapping[str, bytes], split_seed: int
) -> dict[str, Any]:
    """The manifest: raw files with their SHA-256, and per split its counts and SHA-256.

    `sha256` names the whole: equal values mean equal images and labels in equal order in every split.
    """
    described = {key: _describe_split(split) for key, split in splits.items()}
    content = {key: [entry["images_sha256"], entry["labels_sha256"]] for key, entry in described.items()}
    return {
        "name": name,
        "title": TITLES[name],
        "source": SOURCES[name],
        "sha256": sha256(json.dumps(content, sort_keys=True).encode()),
        "files": {key: {"sha256": sha256(data), "bytes": len(data)} for key, data in files.items()},
        "splits": described,
        "split_seed": split_seed,
    }


def validated_manifest(manifest_file: Path, verdict_file: Path) -> Any:
    """The manifest, once the verdict says that these very data met every expectation.

    DVC runs no later stage after a failed validation; this holds too where a stage is started by hand.

    Raises:
        UserError: a file is missing, validation failed, or it judged other data.
    """
    manifest, verdict = read_json(manifest_file), read_json(verdict_file)
    remedy = f"Run: dvc repro {verdict_file.stem}"
    if verdict["dataset.sha256"] != manifest["sha256"]:
        raise UserError(f"{verdict_file} judges other data than {manifest_file} describes. {remedy}")
    if verdict["success"] is not True:
        raise UserError(f"{verdict_file}: the data failed validation; nothing is trained on them. {remedy}")
    return manifest


def _describe_split(split: Split) -> dict[str, Any]:
    return {
        "count": len(split),
        "class_counts": np.bincount(split.labels, minlength=10).tolist(),
        "images_sha256": sha256(np.ascontiguousarray(split.images).tobytes()),
        "labels_sha256": sha256(split.labels.astype("<i8").tobytes()),
    }
