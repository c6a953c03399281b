"""Connections of senders that are slow, never finish, send too much or do not listen, at a real server on a socket."""

import logging
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest
import uvicorn
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deepdigits.serving import connections
from deepdigits.serving.app import create_app
from deepdigits.serving.limits import Bodies
from deepdigits.serving.listening import listening
from tests.pipeline.servers import free_port
from tests.serving.live import StillWatch

POST = b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
LIMITS = {"HEADER_SECONDS": 1.0, "BODY_SECONDS": 1.0, "ANSWER_SECONDS": 1.0, "MOST_CONNECTIONS": 5}


def started(app: object, root_path: str = "") -> Iterator[int]:
    port = free_port()
    with listening("127.0.0.1", port) as sockets:
        config = uvicorn.Config(app, http=connections.Guarded, ws="none", log_config=None, root_path=root_path)  # type: ignore[arg-type]
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=(sockets,), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        yield port
        server.should_exit = True
        thread.join(30)


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    for name, value in LIMITS.items():
        monkeypatch.setattr(connections, name, value)
    yield from started(create_app(StillWatch(None, 1), 60))


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def all_of(one: socket.socket) -> bytes:
    """What comes until the server closes."""
    parts = []
    with suppress(ConnectionResetError):
        while part := one.recv(65536):
            parts.append(part)
    return b"".join(parts)


def exchange(port: int, data: bytes) -> bytes:
    """Send, and read until the server closes."""
    with connected(port) as one:
        with suppress(ConnectionError):
            one.sendall(data)
        return all_of(one)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: loc", b"408"),
        (POST + b"Content-Length: 1000\r\n\r\n{", b"408"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", b"408"),
        (b"", b""),
    ],
    ids=["header", "body", "chunks", "silence"],
)
def test_who_does_not_finish_is_told_so_and_dropped(port: int, data: bytes, status: bytes) -> None:
    start = time.monotonic()
    answer = exchange(port, data)
    assert answer[9:12] == status
    assert (b"application/problem+json" in answer) == bool(status)
    assert 0.5 < time.monotonic() - start < 20


def test_the_second_request_of_a_connection_has_its_limit_too(port: int) -> None:
    with connected(port) as one:
        one.sendall(HEALTH)
        assert b"200 OK" in one.recv(65536)
        one.sendall(b"GET /he")
        assert b" 408 " in all_of(one)


@pytest.mark.parametrize(
    "start",
    [
        b"GET /healthz HTTP/1.1\r\nX: ",
        b"GET /",
        POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nX: ",
        POST + b"Transfer-Encoding: chunked\r\n\r\n1;",
    ],
    ids=["header", "path", "trailer", "chunk extension"],
)
def test_what_is_no_body_is_bounded(port: int, start: bytes) -> None:
    with connected(port) as one:
        one.sendall(start)
        sent = 0
        with suppress(ConnectionError):
            while sent < 64 * 2**20:
                sent += one.send(b"a" * 65536)
        assert sent < 16 * 2**20


def test_a_body_in_many_small_chunks_is_no_attack(port: int) -> None:
    chunks = b"1\r\n \r\n" * 60_000 + b"2\r\n{}\r\n0\r\n\r\n"
    answer = exchange(port, POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
    assert b"422 Unprocessable" in answer
    assert b"images: Field required" in answer


def test_where_there_are_too_many_connections_the_slowest_makes_room(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEADER_SECONDS", 60)
    slow = [connected(port) for _ in range(connections.MOST_CONNECTIONS)]
    for one in slow:
        one.sendall(b"GET /healthz")
        time.sleep(0.02)
    with connected(port) as quick:
        quick.sendall(HEALTH)
        assert b"200 OK" in quick.recv(65536)
        assert all_of(slow[0]) == b""
    for one in slow:
        one.close()


def test_requests_sent_ahead_are_answered_within_reason(port: int) -> None:
    with connected(port) as one:
        one.sendall(HEALTH * 8)
        answer = b""
        while answer.count(b"200 OK") < 8:
            answer += one.recv(65536)
    flood = exchange(port, HEALTH * 5000)
    assert flood.count(b"200 OK") <= connections.MOST_AHEAD + 1


def test_an_answer_that_is_not_taken_is_dropped(port: int, caplog: pytest.LogCaptureFixture) -> None:
    with closing(socket.socket()) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.settimeout(30)
        one.connect(("127.0.0.1", port))
        one.sendall(b"GET /static-offline-docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 8)
        time.sleep(4)
        assert len(all_of(one)) < 8 * 1_500_000
    assert "Traceback" not in caplog.text


def test_who_leaves_in_mid_body_leaves_no_traceback(port: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        for path in (b"/v1/classify", b"/v1/detect", b"/v1/generate"):
            with connected(port) as one:
                one.sendall(POST.replace(b"/v1/classify", path) + b"Content-Length: 1000\r\n\r\n{")
                time.sleep(0.1)
        metrics = ""
        deadline = time.monotonic() + 20
        while len(left := set(re.findall(r'path="(\S+)",status="499"', metrics))) < 3 and time.monotonic() < deadline:
            metrics = exchange(port, b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").decode()
    assert left == {"/v1/classify", "/v1/detect", "/v1/generate"}
    assert "Traceback" not in caplog.text
    assert "Exception" not in caplog.text


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await Response((await receive())["body"])(scope, receive, send)


@pytest.fixture
def bounded() -> Iterator[int]:
    yield from started(Bodies(echo, limit=1000, most=1500))


def test_bodies_in_flight_are_bounded_together_and_room_comes_back(bounded: int) -> None:
    begun = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n" + b"a" * 900
    first, second = connected(bounded), connected(bounded)
    first.sendall(begun)
    time.sleep(0.2)
    second.sendall(begun)
    refused = all_of(second)
    assert b" 503 " in refused
    assert b"retry-after: 5" in refused.lower()
    first.sendall(b"b" * 100)
    assert b"b" * 100 in first.recv(65536)
    for one in (first, second):
        one.close()
    answer = exchange(bounded, begun.replace(b"1000", b"900").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert answer.endswith(b"a" * 900)


@pytest.fixture
def behind_a_proxy() -> Iterator[int]:
    """As behind a proxy that takes the prefix off."""
    yield from started(create_app(StillWatch(None, 1), 60), root_path="/digits")


def test_page_and_documentation_work_below_a_prefix(behind_a_proxy: int) -> None:
    def get(path: str) -> str:
        request = f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"
        return exchange(behind_a_proxy, request.encode()).decode("latin-1")

    assert '<base href="/digits/">' in get("/")
    documentation = get("/docs")
    asked = re.findall(r"""(?:src=|href=|url: )["']([^"']+)""", documentation)
    assert len(asked) >= 4
    for address in asked:
        assert address.startswith("/digits/")
        assert "200 OK" in get(address.removeprefix("/digits"))
    refused = exchange(behind_a_proxy, POST + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}")
    assert b" 422 " in refused
    assert 'path="/v1/classify"' in get("/metrics")
