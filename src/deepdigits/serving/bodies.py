"""Schemas of requests and responses."""

from __future__ import annotations

from functools import cache
from itertools import chain
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, FailFast, Field, create_model, model_validator

from deepdigits.data.own.labelled import MOST_CLASSES
from deepdigits.serving.images import SIZE

MAX_BATCH = 256
MAX_SCENES = 32
MAX_BODY = 8 * 1024 * 1024

Pixel = Annotated[int, Field(ge=0, le=255)]
Row = Annotated[list[Pixel], Field(min_length=SIZE, max_length=SIZE)]
Image = Annotated[list[Row], Field(min_length=SIZE, max_length=SIZE)]
Label = Annotated[int, Field(ge=0, lt=MOST_CLASSES)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Reader = Literal["cnn", "rnn", "all"]


class ClassifyBody(BaseModel):
    """Images of 28 x 28 pixels: ink is 255, the background is 0."""

    model_config = ConfigDict(extra="forbid", strict=True)

    images: Annotated[list[Image], Field(min_length=1, max_length=MAX_BATCH), FailFast()]


class ScenesBody(BaseModel):
    """Square scenes with bright ink on a dark background: 84 x 84 pixels, unless the champion was trained with another
    `compose.style.size`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    images: Annotated[list[list[list[Pixel]]], Field(min_length=1, max_length=MAX_SCENES), FailFast()]


@cache
def scenes_body(side: int) -> type[ScenesBody]:
    """The request schema for scenes of `side` x `side` pixels."""
    row = Annotated[list[Pixel], Field(min_length=side, max_length=side)]
    scene = Annotated[list[row], Field(min_length=side, max_length=side)]
    scenes = Annotated[list[scene], Field(min_length=1, max_length=MAX_SCENES), FailFast()]
    return create_model("ScenesBody", __base__=ScenesBody, images=scenes)


class GenerateBody(BaseModel):
    """Labels of the classes to draw, from 0, with one seed each. The default seeds are 0, 1, 2 ..."""

    model_config = ConfigDict(extra="forbid", strict=True)

    digits: Annotated[list[Label], Field(min_length=1, max_length=MAX_BATCH)]
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=MAX_BATCH)] | None = None

    @model_validator(mode="after")
    def _one_seed_each(self) -> GenerateBody:
        if self.seeds is not None and len(self.seeds) != len(self.digits):
            raise ValueError(f"{len(self.seeds)} seeds for {len(self.digits)} digits; give one seed per digit, or none")
        return self


class Answer(BaseModel):
    """One classifier's answer for one image: the likeliest class by label and name, and the probability of each."""

    label: Label
    class_name: str
    probabilities: Annotated[list[float], Field(min_length=2, max_length=MOST_CLASSES)]


class Reading(BaseModel):
    """One classifier's answers for all images."""

    model: str
    version: int
    answers: list[Answer]


class ClassifyAnswer(BaseModel):
    results: list[Reading]


class GenerateAnswer(BaseModel):
    model: str
    version: int
    images: list[Image]


class ModelEntry(BaseModel):
    """One champion, with the names of its classes in the order of their labels, and what its files are; null if its
    version does not say, so that it takes only JSON."""

    name: str
    version: int
    classes: list[str]
    input: Literal["digits", "bright pictures", "dark pictures", "recordings"] | None
    aliases: list[str]
    metrics: dict[str, float]
    tags: dict[str, str]


class BrokenEntry(BaseModel):
    """A champion that cannot be served, and the version served in its place, if any."""

    name: str
    version: int
    reason: str
    served: int | None


class ModelsAnswer(BaseModel):
    models: list[ModelEntry]
    broken: list[BrokenEntry]


class ReadyAnswer(BaseModel):
    status: str
    broken: list[BrokenEntry]


def uploads(body: str, most: int, what: str) -> dict[str, Any]:
    """The OpenAPI entry for a request that is either JSON with the schema `body` or up to `most` files."""
    files = {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        "minItems": 1,
        "maxItems": most,
        "description": what,
    }
    form = {"type": "object", "required": ["files"], "additionalProperties": False, "properties": {"files": files}}
    content = {
        "application/json": {"schema": {"$ref": f"#/components/schemas/{body}"}},
        "multipart/form-data": {"schema": form},
    }
    return {"requestBody": {"required": True, "content": content}}


def parse_plain(body: bytes) -> np.ndarray | None:
    """Parse valid images quickly to uint8 `(n, 28, 28)`; return None for anything else."""
    if b"true" in body or b"false" in body:  # bytes() would accept these as 1 and 0
        return None
    try:
        document = orjson.loads(body)
        images = document["images"]
        rows = list(chain.from_iterable(images))
        pixels = bytes(chain.from_iterable(rows))  # accepts only integers from 0 to 255
        plain = set(map(len, images)) == set(map(len, rows)) == {SIZE} and len(images) <= MAX_BATCH
    except (ValueError, TypeError, KeyError):
        return None
    return np.frombuffer(pixels, np.uint8).reshape(-1, SIZE, SIZE) if plain and len(document) == 1 else None
