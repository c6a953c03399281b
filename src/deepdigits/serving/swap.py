"""The route that swaps identities: it redraws a digit as other digits in the same handwriting."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

import numpy as np
from fastapi import FastAPI, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel

from deepdigits.core.pixels import to_bytes
from deepdigits.data.own.labelled import MOST_CLASSES
from deepdigits.export.runtime import OnnxNetwork
from deepdigits.serving.answers import array_answer
from deepdigits.serving.bodies import MAX_BATCH, Image, uploads
from deepdigits.serving.champions import ChampionWatch, Served
from deepdigits.serving.images import to_png
from deepdigits.serving.problems import Problem, documented
from deepdigits.serving.reading import read_images
from deepdigits.serving.telemetry import Telemetry
from deepdigits.serving.workers import Work


class SwapAnswer(BaseModel):
    """The swaps of each image: to the requested digit, or to all of them in order."""

    model: str
    version: int
    swaps: list[list[Image]]


def add_swap_route(app: FastAPI, watch: ChampionWatch, telemetry: Telemetry, work: Work) -> None:
    png_answer: dict[int | str, dict[str, Any]] = {
        200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}
    }

    @app.post(
        "/v1/swap",
        responses={**png_answer, **documented(400, 408, 413, 415, 422, 429, 503)},
        openapi_extra=uploads("ClassifyBody", MAX_BATCH, "PNG or JPEG pictures of one digit each."),
        response_model=SwapAnswer,
    )
    async def swap(
        request: Request,
        digit: Annotated[
            int | None, Query(ge=0, lt=MOST_CLASSES, description="The target digit; default: all.")
        ] = None,
        format: Annotated[Literal["json", "png"], Query(description="png: one row of swaps per image.")] = "json",
    ) -> Response:
        """Draw digits in the handwriting of images sent as JSON, or as PNG or JPEG pictures of any size."""
        served = watch.serving("swap")
        images = await work.read(
            read_images, request.headers.get("content-type", ""), await request.body(), served.input
        )
        if digit is not None and digit >= len(served.classes):
            raise Problem(422, f"digit: there is no class {digit}; labels are 0 to {len(served.classes) - 1}.")
        telemetry.images.labels(served.name).inc(len(images))
        wanted = np.arange(len(served.classes)) if digit is None else np.array([digit])
        return await work.run(_swap_digits, served, images, wanted, format)


def _swap_digits(served: Served, images: np.ndarray, wanted: np.ndarray, format: str) -> Response:
    inputs = {"images": images.repeat(len(wanted), axis=0), "digit": np.tile(wanted, len(images))}
    swapped = to_bytes(cast(OnnxNetwork, served.network).answer(inputs)["swapped"])
    if format == "png":
        return Response(to_png(swapped, len(wanted)), media_type="image/png")
    swaps = swapped.reshape(len(images), len(wanted), *swapped.shape[1:])
    return array_answer(served, "swaps", swaps)
