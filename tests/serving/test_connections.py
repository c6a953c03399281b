"""Clients that are slow, never finish, send too much or never read, connected to a real server on a socket."""

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
from tests.serving.live import FixedWatch

POST = b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
LIMITS = {"HEADER_SECONDS": 1.0, "BODY_SECONDS": 1.0, "ANSWER_SECONDS": 1.0, "MOST_CONNECTIONS": 5}


def serve(app: object, root_path: str = "") -> Iterator[int]:
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
    yield from serve(create_app(FixedWatch(None, 1), 60))


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def read_until_closed(connection: socket.socket) -> bytes:
    """Everything the server sends before it closes the connection."""
    parts = []
    with suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def exchange(port: int, data: bytes) -> bytes:
    """Send data, and read until the server closes the connection."""
    with connect(port) as connection:
        with suppress(ConnectionError):
            connection.sendall(data)
        return read_until_closed(connection)


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
def test_an_unfinished_request_gets_408_and_its_connection_is_dropped(port: int, data: bytes, status: bytes) -> None:
    start = time.monotonic()
    response = exchange(port, data)
    assert response[9:12] == status
    assert (b"application/problem+json" in response) == bool(status)
    assert 0.5 < time.monotonic() - start < 20


def test_the_second_request_on_a_connection_has_a_time_limit_too(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(HEALTH)
        assert b"200 OK" in connection.recv(65536)
        connection.sendall(b"GET /he")
        assert b" 408 " in read_until_closed(connection)


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
def test_bytes_outside_the_body_are_bounded(port: int, start: bytes) -> None:
    with connect(port) as connection:
        connection.sendall(start)
        sent = 0
        with suppress(ConnectionError):
            while sent < 64 * 2**20:
                sent += connection.send(b"a" * 65536)
        assert sent < 16 * 2**20


def test_a_body_in_many_small_chunks_is_not_treated_as_an_attack(port: int) -> None:
    chunks = b"1\r\n \r\n" * 60_000 + b"2\r\n{}\r\n0\r\n\r\n"
    response = exchange(port, POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
    assert b"422 Unprocessable" in response
    assert b"images: Field required" in response


def test_the_slowest_connection_is_dropped_when_the_limit_is_reached(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEADER_SECONDS", 60)
    slow = [connect(port) for _ in range(connections.MOST_CONNECTIONS)]
    for connection in slow:
        connection.sendall(b"GET /healthz")
        time.sleep(0.02)
    with connect(port) as quick:
        quick.sendall(HEALTH)
        assert b"200 OK" in quick.recv(65536)
        assert read_until_closed(slow[0]) == b""
    for connection in slow:
        connection.close()


def test_pipelined_requests_are_answered_up_to_a_limit(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(HEALTH * 8)
        responses = b""
        while responses.count(b"200 OK") < 8:
            responses += connection.recv(65536)
    flood = exchange(port, HEALTH * 5000)
    assert flood.count(b"200 OK") <= connections.MOST_AHEAD + 1


def test_a_response_that_is_never_read_is_dropped(port: int, caplog: pytest.LogCaptureFixture) -> None:
    with closing(socket.socket()) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", port))
        connection.sendall(b"GET /static-offline-docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 8)
        time.sleep(4)
        assert len(read_until_closed(connection)) < 8 * 1_500_000
    assert "Traceback" not in caplog.text


def test_a_client_that_disconnects_mid_body_causes_no_traceback(port: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        for path in (b"/v1/classify", b"/v1/detect", b"/v1/generate"):
            with connect(port) as connection:
                connection.sendall(POST.replace(b"/v1/classify", path) + b"Content-Length: 1000\r\n\r\n{")
                time.sleep(0.1)
        metrics = ""
        deadline = time.monotonic() + 20
        while (
            len(aborted := set(re.findall(r'path="(\S+)",status="499"', metrics))) < 3 and time.monotonic() < deadline
        ):
            metrics = exchange(port, b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").decode()
    assert aborted == {"/v1/classify", "/v1/detect", "/v1/generate"}
    assert "Traceback" not in caplog.text
    assert "Exception" not in caplog.text


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await Response((await receive())["body"])(scope, receive, send)


@pytest.fixture
def echo_port() -> Iterator[int]:
    yield from serve(Bodies(echo, limit=1000, most=1500))


def test_bodies_in_flight_share_a_limit_and_release_their_room(echo_port: int) -> None:
    unfinished = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n" + b"a" * 900
    first, second = connect(echo_port), connect(echo_port)
    first.sendall(unfinished)
    time.sleep(0.2)
    second.sendall(unfinished)
    refused = read_until_closed(second)
    assert b" 503 " in refused
    assert b"retry-after: 5" in refused.lower()
    first.sendall(b"b" * 100)
    assert b"b" * 100 in first.recv(65536)
    for connection in (first, second):
        connection.close()
    response = exchange(
        echo_port, unfinished.replace(b"1000", b"900").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    )
    assert response.endswith(b"a" * 900)


@pytest.fixture
def proxied_port() -> Iterator[int]:
    """The port of a server set up as if behind a proxy that strips the prefix."""
    yield from serve(create_app(FixedWatch(None, 1), 60), root_path="/digits")


def test_page_and_documentation_work_under_a_prefix(proxied_port: int) -> None:
    def get(path: str) -> str:
        request = f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"
        return exchange(proxied_port, request.encode()).decode("latin-1")

    assert '<base href="/digits/">' in get("/")
    documentation = get("/docs")
    addresses = re.findall(r"""(?:src=|href=|url: )["']([^"']+)""", documentation)
    assert len(addresses) >= 4
    for address in addresses:
        assert address.startswith("/digits/")
        assert "200 OK" in get(address.removeprefix("/digits"))
    refused = exchange(proxied_port, POST + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}")
    assert b" 422 " in refused
    assert 'path="/v1/classify"' in get("/metrics")
