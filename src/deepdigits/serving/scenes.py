"""The routes for scenes: which digits they contain, where, and in which pixels."""

from __future__ import annotations

from typing import Annotated, cast

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from deepdigits.export.runtime import OnnxNetwork
from deepdigits.serving.answers import array_answer
from deepdigits.serving.bodies import MAX_SCENES, Label, uploads
from deepdigits.serving.champions import ChampionWatch, Served
from deepdigits.serving.placing import Placed
from deepdigits.serving.problems import documented
from deepdigits.serving.reading import read_scenes
from deepdigits.serving.telemetry import Telemetry
from deepdigits.serving.workers import Work

UPLOADS = uploads("ScenesBody", MAX_SCENES, "PNG or JPEG pictures of several digits each.")


class FoundDigit(BaseModel):
    """One digit: its label and name, its score, and its box in pixels of the picture as sent.

    The box is x and y of the upper left corner, width, height.
    """

    label: Label
    class_name: str
    score: float
    box: Annotated[list[float], Field(min_length=4, max_length=4)]


class DetectAnswer(BaseModel):
    """The digits of each scene, highest score first."""

    model: str
    version: int
    scenes: list[list[FoundDigit]]


class SegmentAnswer(BaseModel):
    """The class of every pixel of each scene as the network saw it: 0 is background, 1 + d is digit d."""

    model: str
    version: int
    masks: list[list[list[int]]]


def add_scene_routes(app: FastAPI, watch: ChampionWatch, telemetry: Telemetry, work: Work) -> None:
    refusals = documented(400, 408, 413, 415, 422, 429, 503)

    async def read(kind: str, request: Request) -> tuple[Served, list[Placed]]:
        served = watch.serving(kind)
        scenes = await work.read(
            read_scenes, request.headers.get("content-type", ""), await request.body(), served.side
        )
        telemetry.images.labels(served.name).inc(len(scenes))
        return served, scenes

    @app.post("/v1/detect", responses=refusals, openapi_extra=UPLOADS)
    async def detect(request: Request) -> DetectAnswer:
        """Find the digits in scenes sent as JSON, or as PNG or JPEG pictures of any size."""
        return await work.run(_detect, *await read("detector", request))

    @app.post("/v1/segment", responses=refusals, openapi_extra=UPLOADS, response_model=SegmentAnswer)
    async def segment(request: Request) -> Response:
        """Label every pixel with its digit, in scenes sent as JSON, or as PNG or JPEG pictures of any size."""
        return await work.run(_segment, *await read("segmenter", request))


def _run_network(served: Served, scenes: list[Placed]) -> dict[str, np.ndarray]:
    return cast(OnnxNetwork, served.network).answer({"images": np.stack([scene.image for scene in scenes])})


def _detect(served: Served, scenes: list[Placed]) -> DetectAnswer:
    found = _run_network(served, scenes)
    digits = [_digits(served, scene, found, row) for row, scene in enumerate(scenes)]
    return DetectAnswer(model=served.name, version=served.version, scenes=digits)


def _segment(served: Served, scenes: list[Placed]) -> Response:
    return array_answer(served, "masks", _run_network(served, scenes)["semantic"])


def _digits(served: Served, scene: Placed, found: dict[str, np.ndarray], row: int) -> list[FoundDigit]:
    scores = found["scores"][row].max(axis=1)
    return [
        FoundDigit(
            label=(label := int(found["scores"][row, place].argmax())),
            class_name=served.classes[label],
            score=round(float(scores[place]), 4),
            box=scene.back(found["boxes"][row, place]),
        )
        for place in np.argsort(-scores, kind="stable")
        if found["shown"][row, place]
    ]
