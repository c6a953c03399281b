"""Parses request bodies into arrays. This runs in the processes of deepdigits.serving.workers, off the event loop."""

from __future__ import annotations

import asyncio
import io
import warnings
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Literal, TypeVar

import numpy as np
from PIL import Image
from pydantic import ValidationError
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from deepdigits.data.own.decoding import Undecodable
from deepdigits.data.own.preparing import Input, prepare
from deepdigits.serving.bodies import (
    MAX_BATCH,
    MAX_BODY,
    MAX_SCENES,
    ClassifyBody,
    GenerateBody,
    parse_plain,
    scenes_body,
)
from deepdigits.serving.images import FORMATS, SIZE, as_mnist, decode, longer_side
from deepdigits.serving.photos import BadImageError
from deepdigits.serving.placing import Placed, place
from deepdigits.serving.problems import Problem, describe_errors

# For all pictures of one request together; deepdigits.serving.images limits each picture.
MOST_PIXELS = 100_000_000
MOST_SIDE = 20_000  # pixels per picture
MOST_SCANS = 100  # per JPEG; cameras and editors write ten
Read = TypeVar("Read")
JSON, FORM = "application/json", "multipart/form-data"
PICTURES = "PNG or JPEG pictures"
ServedInput = Input | Literal["digits"]


def media_type(content_type: str, read: tuple[str, ...] = (JSON, FORM)) -> str:
    """Return the media type if it is one of `read`.

    Raises:
        Problem: 415 for any other type.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in read:
        raise Problem(415, f"Content type {kind or 'none'!r} is not supported; send {' or '.join(read)}.")
    return kind


def read_images(content_type: str, body: bytes, given: ServedInput | None) -> np.ndarray:
    """The images of a classify request, uint8 `(n, 28, 28)`.

    Files are prepared as those were that the model was trained on. In pictures of digits that are not 28 x 28, the
    digit is found, scaled and centred as in MNIST.

    Args:
        given: what the model was trained on; None if that is not known, so that no files can be prepared.

    Raises:
        Problem: 413 if there are too many pixels, 415 for another content type, 422 for anything that is not an image.
    """
    if media_type(content_type) == JSON:
        return parse_json(body)
    if given is None:
        raise Problem(
            415,
            "This version does not say how files are to be prepared for it. Send images of 28 x 28 pixels as JSON, "
            "prepared as its training data were, or package it again with make repro.",
        )
    read = _digit if given == "digits" else partial(prepare, given=given, formats=FORMATS)
    wanted = "WAV files" if given == "recordings" else PICTURES
    return np.stack(_each(uploaded(content_type, body, MAX_BATCH, wanted), read))


def read_scenes(content_type: str, body: bytes, side: int) -> list[Placed]:
    """The scenes of a request as a network of `side` x `side` pixels sees them.

    Raises:
        Problem: as for `read_images`.
    """
    if media_type(content_type) == JSON:
        return [Placed(image) for image in parse_scenes(body, side)]
    return _each(
        uploaded(content_type, body, MAX_SCENES), lambda data: place(decode(data, side), side, longer_side(data))
    )


def parse_json(body: bytes) -> np.ndarray:
    """The images of a JSON body, uint8 `(n, 28, 28)`.

    orjson reads valid ones in half the time the schema takes. The schema checks the rest and names what is wrong.
    """
    plain = parse_plain(body)
    if plain is not None:
        return plain
    try:
        return np.array(ClassifyBody.model_validate_json(body).images, np.uint8)
    except ValidationError as error:
        raise Problem(422, describe_errors(error.errors())) from None


def parse_scenes(body: bytes, side: int) -> np.ndarray:
    """The scenes of a JSON body, uint8 `(n, side, side)`."""
    try:
        return np.array(scenes_body(side).model_validate_json(body).images, np.uint8)
    except ValidationError as error:
        raise Problem(422, describe_errors(error.errors())) from None


def parse_generate(body: bytes, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels, below `classes`, and seeds, int64 `(n,)` each."""
    try:
        wanted = GenerateBody.model_validate_json(body)
    except ValidationError as error:
        raise Problem(422, describe_errors(error.errors())) from None
    for number, label in enumerate(wanted.digits):
        if label >= classes:
            raise Problem(422, f"digits.{number}: there is no class {label}; labels are 0 to {classes - 1}.")
    seeds = range(len(wanted.digits)) if wanted.seeds is None else wanted.seeds
    return np.array(wanted.digits, np.int64), np.array(seeds, np.int64)


def uploaded(content_type: str, body: bytes, most: int, wanted: str = PICTURES) -> list[bytes]:
    """The files of a form, still encoded, after checking their declared sizes.

    Raises:
        Problem: 400 for a malformed form or more than `most` files, 413 for too many pixels, 422 for no file, or for a
            picture with too long a side or too many scans.
    """
    try:
        files = asyncio.run(_files(content_type, body, most))
    except MultiPartException as error:
        raise Problem(400, f"Cannot read the form: {error.message}") from None
    if not files:
        raise Problem(422, f"files: send one or more {wanted} in the form field 'files'.")
    pixels = sum(_pixels(number, data) for number, data in enumerate(files))
    if pixels > MOST_PIXELS:
        raise Problem(
            413, f"The pictures have {pixels:,} pixels together; at most {MOST_PIXELS:,} are allowed in one request."
        )
    return files


async def _files(content_type: str, body: bytes, most: int) -> list[bytes]:
    async def whole() -> AsyncGenerator[bytes, None]:
        yield body

    parser = MultiPartParser(Headers({"content-type": content_type}), whole(), max_files=most, max_fields=1)
    parser.spool_max_size = MAX_BODY + 1  # never spool to disk
    form = await parser.parse()
    files = [file for file in form.getlist("files") if isinstance(file, UploadFile)]
    return [await file.read() for file in files] if len(files) == len(form.getlist("files")) else []


def _pixels(number: int, data: bytes) -> int:
    """How many pixels a picture declares; 0 if it is not a picture, which decoding will report."""
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
            warnings.simplefilter("ignore")
            (width, height), jpeg = image.size, image.format != "PNG"
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError):
        return 0
    if max(width, height) > MOST_SIDE:
        raise Problem(
            422, f"files.{number}: the picture is {width} x {height}; sides of at most {MOST_SIDE:,} are allowed."
        )
    if jpeg and data.count(b"\xff\xda") > MOST_SCANS:
        raise Problem(422, f"files.{number}: the JPEG has more than {MOST_SCANS} scans.")
    return int(width * height)


def _digit(data: bytes) -> np.ndarray:
    ink = decode(data)
    return ink if ink.shape == (SIZE, SIZE) else as_mnist(ink)


def _each(files: list[bytes], read: Callable[[bytes], Read]) -> list[Read]:
    found = []
    for number, data in enumerate(files):
        try:
            found.append(read(data))
        except (BadImageError, Undecodable) as error:
            raise Problem(422, f"files.{number}: {error}.") from None
    return found
