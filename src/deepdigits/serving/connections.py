"""uvicorn's protocol with limits for senders that are slow or never finish, which it has not: of time for headers,
bodies and answers, of bytes that are no body, of connections, and of requests sent ahead."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from deepdigits.serving.problems import problem_response

HEADER_SECONDS = 10.0
BODY_SECONDS = 30.0
ANSWER_SECONDS = 120.0  # to take an answer
MAX_HEADER = 64 * 1024
FRAMING = 8  # bytes on the line for one of a body; in chunks of one byte it takes six
MOST_CONNECTIONS = 512
MOST_AHEAD = 16  # requests sent before the first is answered


class Guarded(HttpToolsProtocol):
    """One connection. Where there are too many, the one that has kept us waiting longest makes room."""

    wanted: float | None = None  # seconds in which what we wait for has to come
    timed: float | None = None  # the same, as the timer has it; a request that comes at once needs none
    since = 0.0
    timer: asyncio.TimerHandle | None = None
    received = 0  # of the current message, with all that is no body
    delivered = 0  # of its body
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
        if self.answering is not None:  # which is not the last one, where others were sent ahead
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
            self._refuse(431, f"What is no body is longer than {MAX_HEADER:,} bytes.")

    def on_message_begin(self) -> None:
        ahead = self.cycle is not None and not self.cycle.response_complete
        self.received, self.delivered = 0 if ahead else self.chunk, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MOST_AHEAD:
            raise ValueError("too many requests ahead")  # which the parser turns into a 400
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
            self.since = self.loop.time()
            self.timer = self.loop.call_later(seconds, self._give_up, seconds)

    def _give_up(self, seconds: float) -> None:
        if self.pipeline:  # it is we who have not read on
            self._expect(seconds)
        elif self.received:
            self._refuse(408, f"The request did not come to its end within {seconds:g} seconds.")
        else:
            self.transport.close()

    def _refuse(self, status: int, detail: str) -> None:
        self._expect(None)
        answered = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        if not answered:
            response = problem_response(status, detail, {"Connection": "close"})
            lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode()]
            lines += [b"%s: %s" % header for header in response.raw_headers]
            self.transport.write(b"\r\n".join([*lines, b"", bytes(response.body)]))
        self.transport.close()
