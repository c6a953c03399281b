"""Guards in front of the application: which hosts it answers for, and how much data it accepts."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deepdigits.serving.bodies import MAX_BODY
from deepdigits.serving.problems import Problem

MOST_HELD = 64 * 1024 * 1024  # total bytes of all bodies being received or answered
PATIENCE = 8  # bodies of up to this many times the limit are read to the end before the refusal
RETRY_AFTER = 5
HEALTH = ("/healthz", "/readyz")
LOCAL = ("localhost", "127.0.0.1", "::1")


class Hosts:
    """Answers 400 to requests for a host that is not allowed.

    This stops DNS rebinding, where another site makes its own host name point to this server. Health checks are exempt:
    they come by address and reveal nothing.
    """

    def __init__(self, app: ASGIApp, allowed: Iterable[str]):
        self.app = app
        names = {name.lower() for name in allowed}
        self.allows = lru_cache(1024)(lambda host: "*" in names or hostname(host) in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].removeprefix(scope.get("root_path", "")) not in HEALTH:
            host = header(scope, b"host")
            if not self.allows(host):
                shown = host.decode("latin-1")
                detail = (
                    f"This server does not answer for the host {shown!r}. Allow it: deepdigits serve --allowed-host"
                )
                await Problem(400, detail).response()(scope, receive, send)
                return
        await self.app(scope, receive, send)


def header(scope: Scope, wanted: bytes, default: bytes = b"") -> bytes:
    """The value of the first header with a name."""
    for name, value in scope["headers"]:
        if name == wanted:
            return bytes(value)
    return default


def hostname(host: bytes) -> str | None:
    """The host name in a Host header, without port and brackets."""
    try:
        return urlsplit(f"//{host.decode('latin-1')}").hostname
    except ValueError:
        return None


class Bodies:
    """Receives each body in full before the application sees the request.

    It accepts at most `limit` bytes per body and `most` bytes for all bodies together, whatever length clients declare.
    """

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY, most: int = MOST_HELD):
        self.app, self.limit, self.most = app, limit, most
        self.held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        parts: list[bytes] = []
        try:
            if await self._receive(scope, receive, parts):
                await self.app(scope, _replayed(b"".join(parts), receive), send)
        except _RefusedError as refused:
            response = refused.problem.response()
            response.headers["Connection"] = "close"
            await response(scope, receive, send)
        finally:
            self.held -= sum(map(len, parts))

    async def _receive(self, scope: Scope, receive: Receive, parts: list[bytes]) -> bool:
        """Fill `parts`; return False if the client has disconnected."""
        size = 0
        too_large = Problem(413, f"The body is larger than {self.limit:,} bytes.")
        if _declared(scope) > self.limit:
            await self._discard(receive)
            raise _RefusedError(too_large)
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return False
            part, more = message.get("body", b""), message.get("more_body", False)
            size += len(part)
            if size > self.limit:
                if more:
                    await self._discard(receive)
                raise _RefusedError(too_large)
            if self.held + len(part) > self.most:
                raise _RefusedError(Problem(503, "Too many bodies are being received. Try again.", RETRY_AFTER))
            self.held += len(part)
            parts.append(part)
            if not more:
                return True

    async def _discard(self, receive: Receive) -> None:
        """Let a client finish sending, within reason; otherwise it would see a broken connection and no response."""
        seen = 0
        while seen < PATIENCE * self.limit:
            message = await receive()
            seen += len(message.get("body", b""))
            if not message.get("more_body"):
                return


class _RefusedError(Exception):
    def __init__(self, problem: Problem):
        self.problem = problem


def _declared(scope: Scope) -> int:
    length = header(scope, b"content-length", b"0")
    if not length.isdigit() or len(length) > 19:
        raise _RefusedError(Problem(400, "Content-Length is not a valid length."))
    return int(length)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that first replays a body already received, then passes on later messages."""
    replayed = False

    async def replay() -> Message:
        nonlocal replayed
        if replayed:
            return await receive()
        replayed = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
