"""Turns every refusal into a problem document (RFC 9457) that says what was wrong and what is allowed."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """Ends a request with `status` and a sentence for the client, which may retry after `retry_after` seconds."""

    def __init__(self, status: int, detail: str, retry_after: int | None = None):
        super().__init__(status, detail, retry_after)  # all of them, so that it can be pickled between processes
        self.status, self.detail = status, detail
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}

    def __str__(self) -> str:
        return self.detail

    def response(self) -> JSONResponse:
        return problem_response(self.status, self.detail, self.headers)


def problem_response(status: int, detail: str, headers: Any = None) -> JSONResponse:
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return JSONResponse(body, status, headers=headers, media_type=MEDIA_TYPE)


def add_problem_handlers(app: FastAPI) -> None:
    @app.exception_handler(Problem)
    async def handle_problem(_request: Request, problem: Problem) -> JSONResponse:
        return problem.response()

    @app.exception_handler(RequestValidationError)
    async def handle_validation_error(_request: Request, error: RequestValidationError) -> JSONResponse:
        return problem_response(422, describe_errors(list(error.errors())))

    @app.exception_handler(HTTPException)
    async def handle_http_exception(request: Request, error: HTTPException) -> JSONResponse:
        detail = f"{request.method} {request.url.path}: {error.detail}. See /docs"
        return problem_response(error.status_code, detail, error.headers)


def describe_errors(errors: list[Any]) -> str:
    """Join pydantic's errors into one sentence that names at most three."""
    named = [f"{'.'.join(str(part) for part in error['loc']) or 'body'}: {error['msg']}" for error in errors[:3]]
    more = f", and {len(errors) - 3} more" if len(errors) > 3 else ""
    return "; ".join(named) + more


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entries for error responses."""
    schema = {
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
        },
    }
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }
