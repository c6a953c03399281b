"""Answers images in JSON before FastAPI, whose handling of a request takes longer than the network."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import get_args

from fastapi.responses import Response
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from deepdigits.serving.bodies import MAX_BODY, Reader, parse_json
from deepdigits.serving.problems import Problem, problem_response
from deepdigits.serving.telemetry import Telemetry

PATH = "/v1/classify"
MODELS = {b"": "cnn", **{f"model={name}".encode(): name for name in get_args(Reader)}}


class FastPath:
    """Takes plain requests only: whatever is special in one, `app` answers, and would have answered these the same."""

    def __init__(self, app: ASGIApp, classify: Callable[..., Awaitable[Response]], telemetry: Telemetry):
        self.app, self.classify, self.telemetry = app, classify, telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        model = plain_model(scope)
        if model is None:
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500
        try:
            response = await self._answer(Request(scope, receive), model)
            status = response.status_code
            await response(scope, receive, send)
        finally:
            self.telemetry.note(PATH, "POST", status, time.perf_counter() - start)

    async def _answer(self, request: Request, model: str) -> Response:
        try:
            return await self.classify(parse_json(await request.body()), model)
        except Problem as problem:
            return problem_response(problem.status, problem.detail)


def plain_model(scope: Scope) -> str | None:
    """Which model a request asks, if it is a POST of JSON whose length is declared and allowed."""
    if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
        return None
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"")
    if headers.get(b"content-type") != b"application/json" or not length.isdigit() or int(length) > MAX_BODY:
        return None
    return MODELS.get(scope["query_string"])
