"""What requests and answers look like, and how a body becomes images."""

from __future__ import annotations

from itertools import chain
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from fastapi import Request, UploadFile
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.datastructures import UploadFile as FormFile

from deepdigits.serving.images import SIZE, BadImageError, as_mnist, decode
from deepdigits.serving.problems import Problem, describe_errors

MAX_BATCH = 256
MAX_BODY = 8 * 1024 * 1024

Pixel = Annotated[int, Field(ge=0, le=255)]
Row = Annotated[list[Pixel], Field(min_length=SIZE, max_length=SIZE)]
Image = Annotated[list[Row], Field(min_length=SIZE, max_length=SIZE)]
Digit = Annotated[int, Field(ge=0, le=9)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Reader = Literal["cnn", "rnn", "all"]


class ClassifyBody(BaseModel):
    """Images of 28 x 28 pixels, ink 255 on background 0."""

    model_config = ConfigDict(extra="forbid", strict=True)

    images: Annotated[list[Image], Field(min_length=1, max_length=MAX_BATCH)]


class GenerateBody(BaseModel):
    """Digits to draw; a seed for each, or seeds 0, 1, 2 ... where none are given."""

    model_config = ConfigDict(extra="forbid", strict=True)

    digits: Annotated[list[Digit], Field(min_length=1, max_length=MAX_BATCH)]
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=MAX_BATCH)] | None = None

    @model_validator(mode="after")
    def _one_seed_each(self) -> GenerateBody:
        if self.seeds is not None and len(self.seeds) != len(self.digits):
            raise ValueError(f"{len(self.seeds)} seeds for {len(self.digits)} digits; give one each, or none")
        return self


class Answer(BaseModel):
    """What one classifier reads in one image."""

    label: Digit
    probabilities: Annotated[list[float], Field(min_length=10, max_length=10)]


class Reading(BaseModel):
    """All answers of one classifier."""

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
    """One champion."""

    name: str
    version: int
    aliases: list[str]
    metrics: dict[str, float]
    tags: dict[str, str]


class ModelsAnswer(BaseModel):
    models: list[ModelEntry]


def uploads(body: str, most: int, what: str) -> dict[str, Any]:
    """The OpenAPI entry of a request that is JSON of schema `body`, or up to `most` pictures."""
    files = {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        "minItems": 1,
        "maxItems": most,
        "description": f"PNG or JPEG pictures of {what}.",
    }
    form = {"type": "object", "required": ["files"], "additionalProperties": False, "properties": {"files": files}}
    content = {
        "application/json": {"schema": {"$ref": f"#/components/schemas/{body}"}},
        "multipart/form-data": {"schema": form},
    }
    return {"requestBody": {"required": True, "content": content}}


async def read_images(request: Request) -> np.ndarray:
    """The images of a classify request, uint8 `(n, 28, 28)`.

    Pictures of another size than 28 x 28 are scaled and centred as MNIST was.

    Raises:
        Problem: 415 for another content type, 422 for anything that is no image or too many.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return parse_json(await request.body())
    if kind == "multipart/form-data":
        inks = await read_uploads(request, MAX_BATCH)
        return np.stack([ink if ink.shape == (SIZE, SIZE) else as_mnist(ink) for ink in inks])
    raise Problem(415, f"Content type {kind or 'none'!r} is not read; send application/json or multipart/form-data.")


def parse_json(body: bytes) -> np.ndarray:
    """The images of a JSON body. Right ones are read by orjson, in half the time of the schema; the schema judges, and
    names what is wrong with, the rest."""
    plain = _parse_plain(body)
    if plain is not None:
        return plain
    try:
        return np.array(ClassifyBody.model_validate_json(body).images, np.uint8)
    except ValidationError as error:
        raise Problem(422, describe_errors(error.errors())) from None


def _parse_plain(body: bytes) -> np.ndarray | None:
    if b"true" in body or b"false" in body:  # which bytes() would take for 1 and 0
        return None
    try:
        document = orjson.loads(body)
        images = document["images"]
        rows = list(chain.from_iterable(images))
        pixels = bytes(chain.from_iterable(rows))  # refuses all but integers from 0 to 255
        plain = set(map(len, images)) == set(map(len, rows)) == {SIZE} and len(images) <= MAX_BATCH
    except (ValueError, TypeError, KeyError):
        return None
    return np.frombuffer(pixels, np.uint8).reshape(-1, SIZE, SIZE) if plain and len(document) == 1 else None


async def read_uploads(request: Request, most: int) -> list[np.ndarray]:
    """Each uploaded picture as uint8 `(height, width)`, ink bright on dark.

    Raises:
        Problem: 422 for none, more than `most`, or what is no picture.
    """
    async with request.form(max_files=most, max_fields=1) as form:
        files = form.getlist("files")
        if not files or not all(isinstance(file, FormFile) for file in files):
            raise Problem(422, "files: send one or more PNG or JPEG pictures in the form field 'files'.")
        images = []
        for number, file in enumerate(files):
            assert isinstance(file, UploadFile | FormFile)
            try:
                images.append(decode(await file.read()))
            except BadImageError as error:
                raise Problem(422, f"files.{number}: {error}.") from None
    return images
