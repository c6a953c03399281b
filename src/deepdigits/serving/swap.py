"""The route that swaps identities: a digit's handwriting, as other digits."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

import numpy as np
from fastapi import FastAPI, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from deepdigits.data.pixels import to_bytes
from deepdigits.onnx_models import OnnxNetwork
from deepdigits.serving.bodies import MAX_BATCH, Image, read_images, uploads
from deepdigits.serving.champions import ChampionWatch
from deepdigits.serving.images import to_png
from deepdigits.serving.problems import documented
from deepdigits.serving.telemetry import Telemetry

DIGITS = 10


class SwapAnswer(BaseModel):
    """For each image its swaps: to the digit asked for, or to 0, 1, 2 ... 9."""

    model: str
    version: int
    swaps: list[list[Image]]


def add_swap_route(app: FastAPI, watch: ChampionWatch, telemetry: Telemetry) -> None:
    answered: dict[int | str, dict[str, Any]] = {
        200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}
    }

    @app.post(
        "/v1/swap",
        responses={**answered, **documented(400, 413, 415, 422, 503)},
        openapi_extra=uploads("ClassifyBody", MAX_BATCH, "one digit each"),
        response_model=SwapAnswer,
    )
    async def swap(
        request: Request,
        digit: Annotated[int | None, Query(ge=0, lt=DIGITS, description="To which digit; to each of the ten.")] = None,
        format: Annotated[Literal["json", "png"], Query(description="png: one row of swaps for each image.")] = "json",
    ) -> Response | SwapAnswer:
        """Draw digits in the handwriting of images given as JSON, or as PNG or JPEG pictures of any size."""
        served = watch.serving("swap")
        images = await read_images(request)
        wanted = np.arange(DIGITS) if digit is None else np.array([digit])
        inputs = {"images": images.repeat(len(wanted), axis=0), "digit": np.tile(wanted, len(images))}
        found = await run_in_threadpool(cast(OnnxNetwork, served.network).answer, inputs)
        swapped = to_bytes(found["swapped"])
        telemetry.images.labels(served.name).inc(len(images))
        if format == "png":
            return Response(to_png(swapped, len(wanted)), media_type="image/png")
        swaps = swapped.reshape(len(images), len(wanted), *swapped.shape[1:])
        return SwapAnswer(model=served.name, version=served.version, swaps=swaps.tolist())
