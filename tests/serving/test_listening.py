"""A bad address to listen on gives one message, before anything else starts."""

import os
import socket
import subprocess
import sys
import urllib.request

import pytest

from deepdigits.core.errors import UserError
from deepdigits.serving.listening import address_of, listening
from tests.conftest import ROOT
from tests.pipeline.servers import free_port, wait_for


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("no.such.host.invalid", "Cannot resolve the host 'no.such.host.invalid'"),
        ("a" * 70, "Cannot resolve the host"),
        ("192.0.2.1", "192.0.2.1 is not an address of this machine"),
        ("2001:db8::1", "2001:db8::1 is not an address of this machine"),
    ],
)
def test_a_host_that_cannot_be_bound_is_named(host: str, message: str) -> None:
    with pytest.raises(UserError, match=message), listening(host, free_port()):
        pass


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_a_port_in_use_is_named(host: str) -> None:
    port = free_port()
    message = f"Port {port} is in use. Choose another one: deepdigits serve --port {port + 1}"
    with listening("127.0.0.1", port), pytest.raises(UserError, match=message), listening(host, port):
        pass
    with listening(host, port) as sockets:  # the port is free again
        assert sockets


def test_an_address_can_be_opened_in_a_browser() -> None:
    assert address_of("::1", 8000, "") == "http://[::1]:8000/"
    assert address_of("localhost", 80, "/digits") == "http://localhost:80/digits/"


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("host", ["::1", "no.such.host.invalid"])
def test_the_command_serves_on_ipv6_or_says_what_is_wrong(host: str, tmp_path: os.PathLike[str]) -> None:
    if host == "::1" and not has_ipv6():
        pytest.skip("no IPv6 on this machine")
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "deepdigits",
        "serve",
        "--host",
        host,
        "--port",
        str(port),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    environment.pop("MLFLOW_TRACKING_URI", None)
    with subprocess.Popen(
        [*command, "--root-path", "digits/"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as server:
        if host == "::1":
            wait_for(f"http://[::1]:{port}/healthz", server)
            with urllib.request.urlopen(f"http://[::1]:{port}/", timeout=30) as response:
                assert b'<base href="/digits/">' in response.read()
            server.terminate()
        output = server.communicate(timeout=120)[0].decode()
    assert "Traceback" not in output
    assert server.returncode == (0 if host == "::1" else 1), output
    assert ("Cannot resolve the host" in output) == (host != "::1")
