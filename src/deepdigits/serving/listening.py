"""The sockets to listen at, opened before anything else is begun, so that what is wrong with them is one message."""

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

NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # as the IPv6 of localhost where there is none


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Sockets bound to each address of a host.

    Raises:
        UserError: the host is unknown or not of this machine, or the port is taken or not allowed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise UserError(f"No address is known for the host {host!r}. Give another one: --host 127.0.0.1") from None
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
    one.listen()  # of two servers that start at once one is told now
    return one


def _why_not(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} is in use. Choose another one: deepdigits serve --port {port % 65535 + 1}"
    if error.errno == errno.EACCES:
        return f"Port {port} is for the superuser alone. Choose one above 1023: deepdigits serve --port 8000"
    if error.errno in NOT_HERE:
        return f"{host} is no address of this machine. Give another one: --host 127.0.0.1"
    return f"Port {port} of {host} cannot be listened at: {os.strerror(error.errno or 0)}."


def address_of(host: str, port: int, root_path: str) -> str:
    """What to open in a browser."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}{root_path}/"


def answer(app: ASGIApp, sockets: list[socket.socket], root_path: str = "") -> None:
    """Answer until a signal ends it. uvicorn finishes what it has begun, and then raises the signal again."""
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
