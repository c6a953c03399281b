"""The application and its main routes."""

from __future__ import annotations

import asyncio
import contextlib
import html
from collections.abc import AsyncIterator, Iterable, Sequence
from functools import partial
from importlib.resources import files
from typing import Annotated, Literal, cast

import numpy as np
from fastapi import FastAPI, Query, Request
from fastapi.responses import HTMLResponse, Response
from fastapi_offline import FastAPIOffline
from starlette.types import ASGIApp

from deepdigits.export.runtime import OnnxGenerator
from deepdigits.serving.answers import array_answer
from deepdigits.serving.bodies import (
    MAX_BATCH,
    Answer,
    BrokenEntry,
    ClassifyAnswer,
    ClassifyBody,
    GenerateAnswer,
    GenerateBody,
    ModelEntry,
    ModelsAnswer,
    Reader,
    Reading,
    ReadyAnswer,
    ScenesBody,
    parse_plain,
    uploads,
)
from deepdigits.serving.champions import ChampionWatch, Served
from deepdigits.serving.fast_path import FastPath
from deepdigits.serving.images import to_png
from deepdigits.serving.limits import LOCAL, Bodies, Hosts
from deepdigits.serving.micro_batching import MicroBatcher
from deepdigits.serving.problems import Problem, add_problem_handlers, documented
from deepdigits.serving.reading import JSON, ServedInput, media_type, parse_generate, parse_json, read_images
from deepdigits.serving.scenes import add_scene_routes
from deepdigits.serving.swap import add_swap_route
from deepdigits.serving.telemetry import Measured, Telemetry
from deepdigits.serving.workers import Readers, Runners, Work

FILES = (
    "What the champions were trained on: PNG or JPEG pictures, of one digit each if it was MNIST, or WAV recordings."
)
SHORT = 64 * 1024  # bytes; parsing JSON up to this size takes less time than handing it to another process


def create_app(watch: ChampionWatch, refresh_seconds: float, allowed_hosts: Iterable[str] = LOCAL) -> ASGIApp:
    """Build the application. It checks for moved aliases every `refresh_seconds`."""
    work = Work(Readers(), Runners())

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await asyncio.gather(asyncio.to_thread(work.read.warm_up), asyncio.to_thread(watch.refresh))
        task = asyncio.create_task(_keep_fresh(watch, refresh_seconds))
        yield
        task.cancel()

    app = FastAPIOffline(
        title="deepdigits", summary="Reads, finds and draws handwritten digits.", lifespan=lifespan, redoc_url=None
    )
    telemetry = Telemetry()
    add_problem_handlers(app)
    _add_models(app, watch, telemetry, work)
    add_scene_routes(app, watch, telemetry, work)
    add_swap_route(app, watch, telemetry, work)
    _add_operations(app, watch, telemetry)
    _add_schemas(app)
    telemetry.paths = frozenset(getattr(route, "path", "") for route in app.routes)
    fast = FastPath(app, partial(_read_json, watch, telemetry, work))
    return Measured(Hosts(Bodies(fast), allowed_hosts), telemetry)


async def _keep_fresh(watch: ChampionWatch, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        await asyncio.to_thread(watch.refresh)


def _add_models(app: FastAPI, watch: ChampionWatch, telemetry: Telemetry, work: Work) -> None:
    refusals = documented(400, 408, 413, 415, 422, 429, 503)

    @app.post(
        "/v1/classify",
        responses=refusals,
        openapi_extra=uploads("ClassifyBody", MAX_BATCH, FILES),
        response_model=ClassifyAnswer,
    )
    async def classify(
        request: Request,
        model: Annotated[Reader, Query(description="The classifier to use; all runs each of them.")] = "cnn",
    ) -> Response:
        """Classify images sent as JSON or, as they are, in PNG, JPEG or WAV files."""
        served = _readers(watch, model)
        content_type = request.headers.get("content-type", "")
        images = await work.read(read_images, content_type, await request.body(), _common_input(served))
        return await _read(telemetry, images, served)

    @app.post("/v1/generate", responses=refusals, response_model=GenerateAnswer)
    async def generate(
        request: Request,
        format: Annotated[Literal["json", "png"], Query(description="png: one sheet, ten images per row.")] = "json",
    ) -> Response:
        """Draw images of classes, such as digits. The same label and seed always produce the same image."""
        media_type(request.headers.get("content-type", ""), (JSON,))
        served = watch.serving("gan")
        digits, seeds = await work.read(parse_generate, await request.body(), len(served.classes))
        telemetry.images.labels(served.name).inc(len(digits))
        return await work.run(_draw_digits, served, digits, seeds, format)

    @app.get("/v1/models")
    async def models() -> ModelsAnswer:
        """List the champions being served, with their test metrics and origin, and those that cannot be served."""
        return ModelsAnswer(
            models=[_entry(watch, served) for served in watch.current.values()], broken=_broken_entries(watch)
        )


def _add_operations(app: FastAPI, watch: ChampionWatch, telemetry: Telemetry) -> None:
    page = files("deepdigits.serving").joinpath("page.html").read_text(encoding="utf-8")

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def draw(request: Request) -> str:
        return page.replace('<base href="/">', f'<base href="{html.escape(request.scope.get("root_path", ""))}/">')

    for name in ("page.js", "recording.js"):
        script = files("deepdigits.serving").joinpath(name).read_text(encoding="utf-8")
        app.get(f"/{name}", include_in_schema=False)(partial(_script, script))

    async def healthz() -> dict[str, str]:
        """Liveness: the process responds."""
        return {"status": "ok"}

    async def readyz() -> ReadyAnswer:
        """Readiness: at least one champion is loaded. Lists the champions that cannot be served."""
        if not watch.current:
            reasons = "".join(f" {one.sentence()}" for one in watch.broken.values())
            raise Problem(503, f"No champion is loaded. Run: deepdigits promote NAME{reasons and '.' + reasons}")
        return ReadyAnswer(status="ready", broken=_broken_entries(watch))

    for path, answer, refusals in (("/healthz", healthz, {}), ("/readyz", readyz, documented(503))):
        app.get(path, responses=refusals)(answer)
        app.head(path, include_in_schema=False)(answer)

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Counters and timings for Prometheus."""
        return Response(telemetry.render(watch), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _script(text: str) -> Response:
    return Response(text, media_type="text/javascript")


def _add_schemas(app: FastAPI) -> None:
    """Add request bodies to the OpenAPI document that are parsed by hand, to limit their size and dispatch on type."""
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
    # Invalid query parameters also get a problem document, so these schemas are unused.
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)


async def _read_json(watch: ChampionWatch, telemetry: Telemetry, work: Work, body: bytes, model: Reader) -> Response:
    images = parse_plain(body) if len(body) <= SHORT else None
    if images is None:
        images = await work.read(parse_json, body)
    return await _read(telemetry, images, _readers(watch, model))


def _readers(watch: ChampionWatch, model: Reader) -> list[Served]:
    return [watch.serving(kind) for kind in (("cnn", "rnn") if model == "all" else (model,))]


def _common_input(served: Sequence[Served]) -> ServedInput | None:
    """
    Raises:
        Problem: 422 if files must be prepared differently for each, since one data set was described in two ways.
    """
    found = {one.input for one in served}
    if len(found) > 1:
        names = " and ".join(f"{one.name} version {one.version}" for one in served)
        raise Problem(422, f"{names} were trained on files that were prepared differently; ask one of them at a time.")
    return found.pop()


async def _read(telemetry: Telemetry, images: np.ndarray, served: Sequence[Served]) -> Response:
    results = [await _read_by(one, images) for one in served]
    for one in served:
        telemetry.images.labels(one.name).inc(len(images))
    # Let pydantic serialise it directly, so that it happens only once.
    return Response(ClassifyAnswer(results=results).model_dump_json(), media_type="application/json")


async def _read_by(served: Served, images: np.ndarray) -> Reading:
    found = await cast(MicroBatcher, served.network)(images)
    answers = [
        Answer(label=(label := int(row.argmax())), class_name=served.classes[label], probabilities=row.tolist())
        for row in found
    ]
    return Reading(model=served.name, version=served.version, answers=answers)


def _draw_digits(served: Served, digits: np.ndarray, seeds: np.ndarray, format: str) -> Response:
    images = cast(OnnxGenerator, served.network).draw(digits, seeds)
    if format == "png":
        return Response(to_png(images, 10), media_type="image/png")
    return array_answer(served, "images", images)


def _entry(watch: ChampionWatch, served: Served) -> ModelEntry:
    aliases = [alias for alias, version in watch.aliases.get(served.name, {}).items() if version == served.version]
    return ModelEntry(
        name=served.name,
        version=served.version,
        classes=list(served.classes),
        input=served.input,
        aliases=sorted(aliases),
        metrics=dict(served.measures),
        tags=dict(served.tags),
    )


def _broken_entries(watch: ChampionWatch) -> list[BrokenEntry]:
    return [
        BrokenEntry(name=one.name, version=one.version, reason=one.reason, served=watch.version_served(kind))
        for kind, one in watch.broken.items()
    ]
