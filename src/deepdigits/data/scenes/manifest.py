"""The scene manifest: name, origin, counts and hashes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from deepdigits.core.files import sha256
from deepdigits.data.scenes.scenes import Scenes

# Which split's digits each set of scenes is composed from.
ORIGINS = {"train": "train", "validation": "validation", "test": "test", "stress": "test"}


def describe_scenes(manifest: Mapping[str, Any], composed: Mapping[str, Scenes]) -> dict[str, Any]:
    """Build the manifest of the scenes; `manifest` describes the images they are composed from.

    `sha256` identifies the whole dataset: equal values mean equal scenes, boxes and masks, in the same order, in every
    split.
    """
    splits = {name: _describe(scenes, len(manifest["classes"])) for name, scenes in composed.items()}
    content = {name: entry["arrays_sha256"] for name, entry in splits.items()}
    return {
        "name": manifest["name"],
        "title": f"scenes of {manifest['title']}",
        "source": manifest["source"],
        "classes": manifest["classes"],
        "origin_sha256": manifest["sha256"],
        "sha256": sha256(json.dumps(content, sort_keys=True).encode()),
        "splits": splits,
    }


def arrays_sha256(scenes: Scenes) -> dict[str, str]:
    """Return the SHA-256 of each array's values."""
    arrays = {field.name: np.ascontiguousarray(getattr(scenes, field.name)) for field in fields(Scenes)}
    return {name: sha256(array.tobytes()) for name, array in arrays.items()}


def _describe(scenes: Scenes, classes: int) -> dict[str, Any]:
    return {
        "count": len(scenes),
        "digits": len(scenes.labels),
        "class_counts": np.bincount(scenes.labels, minlength=classes).tolist(),
        "size": list(scenes.images.shape[1:]),
        "arrays_sha256": arrays_sha256(scenes),
    }
