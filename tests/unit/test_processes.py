"""A process that is still running is never taken for gone, and another process is never taken for it."""

import os
import socket
import subprocess
import sys
import time

import psutil
import pytest

from deepdigits.ops import processes
from deepdigits.ops.processes import process_identity, state
from tests.conftest import ROOT

PRINT_IDENTITY = (
    "import sys; from deepdigits.ops.processes import process_identity; print(process_identity(), flush=True)"
)


def other_process(*, prefix: list[str] | None = None) -> tuple[subprocess.Popen[str], str]:
    """A process that waits until its standard input closes, and its identity."""
    process = subprocess.Popen(
        [*(prefix or []), sys.executable, "-c", f"{PRINT_IDENTITY}; sys.stdin.read()"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "src"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    return process, process.stdout.readline().strip()


def with_part(identity: str, part: int, value: str) -> str:
    parts = identity.split(":")
    parts[part] = value
    return ":".join(parts)


def test_a_process_is_alive_until_it_ends() -> None:
    assert state(process_identity()) == "alive"
    process, identity = other_process()
    assert state(identity) == "alive"
    assert process.stdin
    process.stdin.close()
    deadline = time.monotonic() + 20
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert state(identity) == "gone"  # though its pid is still taken
    process.wait()
    assert state(identity) == "gone"


def test_a_reused_pid_is_another_process() -> None:
    assert state(with_part(process_identity(), 2, "1")) == "gone"


@pytest.mark.parametrize(("part", "value"), [(0, "elsewhere"), (4, "1")], ids=["host", "container"])
def test_a_process_on_another_host_or_in_another_container_is_unknown(part: int, value: str) -> None:
    identity = with_part(process_identity(), 1, "4194305")  # no process here has this pid
    assert state(identity) == "gone"
    assert state(with_part(identity, part, value)) == "unknown"


def test_a_container_with_the_same_host_name_is_told_apart() -> None:
    isolated = ["unshare", "-Urpf", "--mount-proc"]
    if subprocess.run([*isolated, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this system does not let a user create a pid namespace (unshare -Urpf)")
    process, identity = other_process(prefix=isolated)
    try:
        assert identity.split(":")[:2] == [socket.gethostname(), "1"]
        assert state(identity) == "unknown"
    finally:
        process.communicate("")


def test_processes_from_before_a_reboot_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_place", lambda: ["before", processes.HOSTS_OWN_NAMESPACE, "machine"])
    before = process_identity()
    monkeypatch.setattr(processes, "_place", lambda: ["after", processes.HOSTS_OWN_NAMESPACE, "machine"])
    assert state(before) == "gone"
    monkeypatch.setattr(processes, "_place", lambda: ["after", processes.HOSTS_OWN_NAMESPACE, "another machine"])
    assert state(before) == "unknown"
    monkeypatch.setattr(processes, "_place", lambda: ["after", "4026532000", ""])
    assert state(before) == "unknown"


def test_an_identity_in_the_old_format_is_gone_only_if_no_process_has_its_pid() -> None:
    host = socket.gethostname()
    assert state(f"{host}:4194305") == "gone"
    assert state(f"{host}:{os.getpid()}") == "unknown"
    assert state("elsewhere:4194305") == "unknown"


@pytest.mark.parametrize("identity", ["", ":", "a", "a:b", "a:1:2", "::::::", f"{socket.gethostname()}:-1:::::"])
def test_a_malformed_identity_is_unknown(identity: str) -> None:
    assert state(identity) == "unknown"
