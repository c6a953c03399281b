"""The routes that answer for scenes: which digits are there, where, and in which pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

import numpy as np
from fastapi import FastAPI, Request
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from deepdigits.onnx_models import OnnxNetwork
from deepdigits.serving.bodies import Digit, Pixel, read_uploads, uploads
from deepdigits.serving.champions import ChampionWatch, Served
from deepdigits.serving.problems import Problem, describe_errors, documented
from deepdigits.serving.telemetry import Telemetry

SIZE = 84  # pixels of a scene
MAX_SCENES = 32
SceneRow = Annotated[list[Pixel], Field(min_length=SIZE, max_length=SIZE)]
Scene = Annotated[list[SceneRow], Field(min_length=SIZE, max_length=SIZE)]
UPLOADS = uploads("ScenesBody", MAX_SCENES, "several digits each")


class ScenesBody(BaseModel):
    """Scenes of 84 x 84 pixels, bright ink on dark ground."""

    model_config = ConfigDict(extra="forbid", strict=True)

    images: Annotated[list[Scene], Field(min_length=1, max_length=MAX_SCENES)]


class FoundDigit(BaseModel):
    """One digit: what it is, how sure that is, and its box in pixels of the picture that was sent: x and y of the upper
    left corner, width, height."""

    label: Digit
    score: float
    box: Annotated[list[float], Field(min_length=4, max_length=4)]


class DetectAnswer(BaseModel):
    """The digits of each scene, best first."""

    model: str
    version: int
    scenes: list[list[FoundDigit]]


class SegmentAnswer(BaseModel):
    """The class of every pixel of each scene, as the network saw it, 84 x 84: 0 background, 1 + d for digit d."""

    model: str
    version: int
    masks: list[list[list[int]]]


@dataclass(frozen=True)
class Placed:
    """A picture as the network sees it: scaled by `scale`, with its corner at (left, top) of 84 x 84."""

    image: np.ndarray
    scale: float = 1.0
    left: int = 0
    top: int = 0

    def back(self, box: np.ndarray) -> list[float]:
        """A box in pixels of the picture itself."""
        x, y, width, height = (float(value) for value in box)
        return [round(value / self.scale, 2) for value in (x - self.left, y - self.top, width, height)]


def place(ink: np.ndarray) -> Placed:
    """Scale a picture uint8 `(height, width)` so that it fits, and fill up with the ground at its border."""
    height, width = ink.shape
    scale = SIZE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(Image.fromarray(ink).resize(size, Image.Resampling.LANCZOS))
    border = np.concatenate([ink[0], ink[-1], ink[:, 0], ink[:, -1]])
    canvas = np.full((SIZE, SIZE), int(np.median(border)), np.uint8)
    top, left = (SIZE - small.shape[0]) // 2, (SIZE - small.shape[1]) // 2
    canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    return Placed(canvas, scale, left, top)


async def read_scenes(request: Request) -> list[Placed]:
    """The scenes of a request.

    Raises:
        Problem: 415 for another content type, 422 for anything that is no scene or too many.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return [place(ink) for ink in await read_uploads(request, MAX_SCENES)]
    if kind != "application/json":
        raise Problem(
            415, f"Content type {kind or 'none'!r} is not read; send application/json or multipart/form-data."
        )
    try:
        body = ScenesBody.model_validate_json(await request.body())
    except ValidationError as error:
        raise Problem(422, describe_errors(error.errors())) from None
    return [Placed(image) for image in np.array(body.images, np.uint8)]


def add_scene_routes(app: FastAPI, watch: ChampionWatch, telemetry: Telemetry) -> None:
    refusals = documented(400, 413, 415, 422, 503)

    async def answer(kind: str, scenes: list[Placed]) -> tuple[Served, dict[str, np.ndarray]]:
        served = watch.serving(kind)
        network = cast(OnnxNetwork, served.network)
        found = await run_in_threadpool(network.answer, {"images": np.stack([scene.image for scene in scenes])})
        telemetry.images.labels(served.name).inc(len(scenes))
        return served, found

    @app.post("/v1/detect", responses=refusals, openapi_extra=UPLOADS)
    async def detect(request: Request) -> DetectAnswer:
        """Find the digits in scenes given as JSON, or in PNG or JPEG pictures of any size."""
        scenes = await read_scenes(request)
        served, found = await answer("detector", scenes)
        return DetectAnswer(
            model=served.name,
            version=served.version,
            scenes=[_digits(scene, found, row) for row, scene in enumerate(scenes)],
        )

    @app.post("/v1/segment", responses=refusals, openapi_extra=UPLOADS)
    async def segment(request: Request) -> SegmentAnswer:
        """Name the digit of every pixel, in scenes given as JSON, or in PNG or JPEG pictures of any size."""
        served, found = await answer("segmenter", await read_scenes(request))
        return SegmentAnswer(model=served.name, version=served.version, masks=found["semantic"].tolist())


def _digits(scene: Placed, found: dict[str, np.ndarray], row: int) -> list[FoundDigit]:
    scores = found["scores"][row].max(axis=1)
    return [
        FoundDigit(
            label=int(found["scores"][row, place].argmax()),
            score=round(float(scores[place]), 4),
            box=scene.back(found["boxes"][row, place]),
        )
        for place in np.argsort(-scores, kind="stable")
        if found["shown"][row, place]
    ]
