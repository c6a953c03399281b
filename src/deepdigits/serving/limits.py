"""A middleware that bounds request bodies, whatever their sender says of their length."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deepdigits.serving.problems import problem_response

PATIENCE = 8  # bodies of at most this many times the limit are read to their end


class _TooLargeError(Exception):
    pass


class BodyLimit:
    """Answers 413 to a body of more than `limit` bytes, of which nothing is kept."""

    def __init__(self, app: ASGIApp, limit: int):
        self.app, self.limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = problem_response(413, f"The body is larger than {self.limit:,} bytes.", {"Connection": "close"})
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self.limit:
            await self._discard(receive)
            await refusal(scope, receive, send)
            return
        seen, more = 0, True

        async def counted() -> Message:
            nonlocal seen, more
            message = await receive()
            seen, more = seen + len(message.get("body", b"")), message.get("more_body", False)
            if seen > self.limit:
                raise _TooLargeError
            return message

        try:
            await self.app(scope, counted, send)
        except _TooLargeError:
            if more:
                await self._discard(receive)
            await refusal(scope, receive, send)

    async def _discard(self, receive: Receive) -> None:
        """Let a sender finish, within reason, who would otherwise see a broken connection and no answer."""
        seen = 0
        while seen < PATIENCE * self.limit:
            message = await receive()
            seen += len(message.get("body", b""))
            if not message.get("more_body"):
                return
