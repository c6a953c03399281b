"""uvicorn's HTTP protocol with limits it lacks, against clients that are slow or never finish.

The limits cover the time for headers, bodies and responses, the bytes outside the body, the number of connections, and
the number of pipelined requests.
"""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from deepdigits.serving.problems import problem_response

HEADER_SECONDS = 10.0
BODY_SECONDS = 30.0
ANSWER_SECONDS = 120.0  # for the client to read a response
MAX_HEADER = 64 * 1024
FRAMING = 8  # bytes on the wire per body byte; a body sent in chunks of one byte needs six
MOST_CONNECTIONS = 512
MOST_AHEAD = 16  # pipelined requests: sent before the first is answered


class Guarded(HttpToolsProtocol):
    """One connection. When there are too many, the one that has kept us waiting longest is dropped."""

    wanted: float | None = None  # seconds within which the data we wait for must arrive
    timed: float | None = None  # the value the timer was set to; a request that arrives in one piece needs no timer
    since = 0.0
    timer: asyncio.TimerHandle | None = None
    received = 0  # bytes of the current message, including those outside its body
    delivered = 0  # bytes of its body
    chunk = 0
    answering: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            waiting = [one for one in self.connections if isinstance(one, Guarded) and one.timer is not None]
            dropped = min(waiting, key=lambda one: one.since, default=self)
            dropped._expect(None)
            dropped.transport.abort()
            if dropped is self:
                return
        self._expect(HEADER_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect(None)
        if self.answering is not None:  # not the last request if others were pipelined
            self.answering.disconnected = True
            self.answering.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.wanted is None and (self.cycle is None or self.cycle.response_complete):
            self.wanted = HEADER_SECONDS
        self.chunk = len(data)
        self.received += self.chunk
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self.wanted != self.timed:
            self._expect(self.wanted)
        if self.received > MAX_HEADER + FRAMING * self.delivered:
            self._refuse(431, f"The request has more than {MAX_HEADER:,} bytes outside its body.")

    def on_message_begin(self) -> None:
        ahead = self.cycle is not None and not self.cycle.response_complete
        self.received, self.delivered = 0 if ahead else self.chunk, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MOST_AHEAD:
            raise ValueError("too many pipelined requests")  # the parser turns this into a 400
        super().on_headers_complete()
        self.wanted = BODY_SECONDS

    def on_body(self, body: bytes) -> None:
        self.delivered += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self.wanted = None
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self.answering = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self.loop.call_later(ANSWER_SECONDS, self._drop_unread)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.loop.call_later(ANSWER_SECONDS, self._drop_unread)

    def _drop_unread(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    def _expect(self, seconds: float | None) -> None:
        self.wanted = self.timed = seconds
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if seconds is not None:
            self.since = time.monotonic()  # the loop's own clock gives connections accepted at once the same time
            self.timer = self.loop.call_later(seconds, self._give_up, seconds)

    def _give_up(self, seconds: float) -> None:
        if self.pipeline:  # we are the ones who stopped reading
            self._expect(seconds)
        elif self.received:
            self._refuse(408, f"The request did not finish within {seconds:g} seconds.")
        else:
            self.transport.close()

    def _refuse(self, status: int, detail: str) -> None:
        self._expect(None)
        responding = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        if not responding:
            response = problem_response(status, detail, {"Connection": "close"})
            lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode()]
            lines += [b"%s: %s" % header for header in response.raw_headers]
            self.transport.write(b"\r\n".join([*lines, b"", bytes(response.body)]))
        self.transport.close()
