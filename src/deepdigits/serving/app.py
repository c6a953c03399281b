"""The routes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from importlib.resources import files
from typing import Annotated, Literal, cast

import numpy as np
from fastapi import FastAPI, Query, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from deepdigits.onnx_models import OnnxGenerator
from deepdigits.serving.bodies import (
    MAX_BATCH,
    MAX_BODY,
    Answer,
    ClassifyAnswer,
    ClassifyBody,
    GenerateAnswer,
    GenerateBody,
    ModelEntry,
    ModelsAnswer,
    Reader,
    Reading,
    read_images,
    uploads,
)
from deepdigits.serving.champions import ChampionWatch, Served
from deepdigits.serving.fast_path import FastPath
from deepdigits.serving.images import to_png
from deepdigits.serving.limits import BodyLimit
from deepdigits.serving.problems import Problem, add_problem_handlers, describe_errors, documented
from deepdigits.serving.scenes import ScenesBody, add_scene_routes
from deepdigits.serving.swap import add_swap_route
from deepdigits.serving.telemetry import Measured, Telemetry
from deepdigits.serving.together import Together


def create_app(watch: ChampionWatch, refresh_seconds: float) -> FastPath:
    """The application; it looks for moved aliases every `refresh_seconds`."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(watch.refresh)
        task = asyncio.create_task(_keep_fresh(watch, refresh_seconds))
        yield
        task.cancel()

    app = FastAPI(
        title="deepdigits", summary="Handwritten digits, read, found and drawn.", lifespan=lifespan, redoc_url=None
    )
    telemetry = Telemetry()
    app.add_middleware(BodyLimit, limit=MAX_BODY)
    app.add_middleware(Measured, telemetry=telemetry)
    add_problem_handlers(app)
    _add_models(app, watch, telemetry)
    add_scene_routes(app, watch, telemetry)
    add_swap_route(app, watch, telemetry)
    _add_operations(app, watch, telemetry)
    _add_schemas(app)
    return FastPath(app, partial(_read, watch, telemetry), telemetry)


async def _keep_fresh(watch: ChampionWatch, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        await asyncio.to_thread(watch.refresh)


def _add_models(app: FastAPI, watch: ChampionWatch, telemetry: Telemetry) -> None:
    @app.post(
        "/v1/classify",
        responses=documented(400, 413, 415, 422, 503),
        openapi_extra=uploads("ClassifyBody", MAX_BATCH, "one digit each"),
        response_model=ClassifyAnswer,
    )
    async def classify(
        request: Request, model: Annotated[Reader, Query(description="Which classifier; all of them.")] = "cnn"
    ) -> Response:
        """Read digits in images given as JSON, or in PNG or JPEG pictures of any size."""
        return await _read(watch, telemetry, await read_images(request), model)

    @app.post("/v1/generate", responses=documented(400, 413, 415, 422, 503), response_model=GenerateAnswer)
    async def generate(
        request: Request,
        format: Annotated[Literal["json", "png"], Query(description="png: all on one sheet, ten in a row.")] = "json",
    ) -> Response | GenerateAnswer:
        """Draw digits. The same digit and seed always give the same image."""
        body = _parse_generate(await request.body())
        served = watch.serving("gan")
        seeds = np.array(range(len(body.digits)) if body.seeds is None else body.seeds, np.int64)
        images = await run_in_threadpool(
            cast(OnnxGenerator, served.network).draw, np.array(body.digits, np.int64), seeds
        )
        telemetry.images.labels(served.name).inc(len(images))
        if format == "png":
            return Response(to_png(images, 10), media_type="image/png")
        return GenerateAnswer(model=served.name, version=served.version, images=images.tolist())

    @app.get("/v1/models")
    async def models() -> ModelsAnswer:
        """The champions being served, with their test figures and origin."""
        return ModelsAnswer(models=[_entry(watch, served) for served in watch.current.values()])


def _add_operations(app: FastAPI, watch: ChampionWatch, telemetry: Telemetry) -> None:
    page = files("deepdigits.serving").joinpath("page.html").read_text(encoding="utf-8")

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def draw() -> str:
        return page

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.get("/readyz", responses=documented(503))
    async def readyz() -> dict[str, str]:
        """There is a champion to serve."""
        if not watch.current:
            raise Problem(503, "No champion is loaded. Make one: deepdigits promote NAME")
        return {"status": "ready"}

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Counts and times, for Prometheus."""
        return Response(telemetry.render(watch), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_schemas(app: FastAPI) -> None:
    """Put the bodies that are read by hand, in order to bound and to dispatch them, into the OpenAPI document."""
    document = app.openapi()
    schemas = document["components"]["schemas"]
    for body in (ClassifyBody, GenerateBody, ScenesBody):
        schemas[body.__name__] = body.model_json_schema(ref_template="#/components/schemas/{model}")
    document["paths"]["/v1/generate"]["post"]["requestBody"] = {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/GenerateBody"}}},
    }
    drawn = document["paths"]["/v1/generate"]["post"]["responses"]["200"]["content"]
    drawn["image/png"] = {"schema": {"type": "string", "format": "binary"}}
    # Wrong query parameters are answered as problems, too.
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)


async def _read(watch: ChampionWatch, telemetry: Telemetry, images: np.ndarray, model: Reader) -> Response:
    served = [watch.serving(kind) for kind in (("cnn", "rnn") if model == "all" else (model,))]
    results = [await _read_by(one, images) for one in served]
    for one in served:
        telemetry.images.labels(one.name).inc(len(images))
    # Serialised once, by pydantic itself.
    return Response(ClassifyAnswer(results=results).model_dump_json(), media_type="application/json")


async def _read_by(served: Served, images: np.ndarray) -> Reading:
    found = await cast(Together, served.network)(images)
    answers = [Answer(label=int(row.argmax()), probabilities=row.tolist()) for row in found]
    return Reading(model=served.name, version=served.version, answers=answers)


def _parse_generate(body: bytes) -> GenerateBody:
    try:
        return GenerateBody.model_validate_json(body)
    except ValidationError as error:
        raise Problem(422, describe_errors(error.errors())) from None


def _entry(watch: ChampionWatch, served: Served) -> ModelEntry:
    aliases = [alias for alias, version in watch.aliases.get(served.name, {}).items() if version == served.version]
    return ModelEntry(
        name=served.name,
        version=served.version,
        aliases=sorted(aliases),
        metrics=dict(served.measures),
        tags=dict(served.tags),
    )
