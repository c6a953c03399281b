"""Opens the listening sockets before anything else starts, so that a bad address fails early with one message."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from deepdigits.core.errors import UserError
from deepdigits.serving.connections import Guarded

NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # e.g. the IPv6 address of localhost on a machine without IPv6


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Open sockets bound to each address of a host.

    Raises:
        UserError: the host is unknown or not on this machine, or the port is in use or not permitted.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise UserError(f"Cannot resolve the host {host!r}. Choose another one: --host 127.0.0.1") from None
    with contextlib.ExitStack() as opened:
        sockets, failure = [], OSError()
        for family, kind, protocol, _, address in dict.fromkeys(found):
            try:
                sockets.append(_bound(opened.enter_context(socket.socket(family, kind, protocol)), address))
            except OSError as error:
                failure = error
                if error.errno not in NOT_HERE:
                    break
        if not sockets or failure.errno not in (None, *NOT_HERE):
            raise UserError(_why_not(failure, host, port))
        yield sockets


def _bound(one: socket.socket, address: Any) -> socket.socket:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if one.family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    one.bind(address)
    one.listen()  # if two servers start at once, the second fails here
    return one


def _why_not(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} is in use. Choose another one: deepdigits serve --port {port % 65535 + 1}"
    if error.errno == errno.EACCES:
        return f"Port {port} requires root privileges. Choose one above 1023: deepdigits serve --port 8000"
    if error.errno in NOT_HERE:
        return f"{host} is not an address of this machine. Choose another one: --host 127.0.0.1"
    return f"Cannot listen on port {port} of {host}: {os.strerror(error.errno or 0)}."


def address_of(host: str, port: int, root_path: str) -> str:
    """The URL to open in a browser."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}{root_path}/"


def answer(app: ASGIApp, sockets: list[socket.socket], root_path: str = "") -> None:
    """Serve until a signal arrives. uvicorn then finishes the requests in progress and raises the signal again."""
    config = uvicorn.Config(
        app,
        http=Guarded,
        ws="none",
        root_path=root_path,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=30,
    )
    uvicorn.Server(config).run(sockets=sockets)
