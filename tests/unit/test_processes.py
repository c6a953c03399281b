"""A process that still runs is never taken for one that is gone, nor another one for it."""

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

SAY = "import sys; from deepdigits.ops.processes import process_identity; print(process_identity(), flush=True)"


def other_process(*, before: list[str] | None = None) -> tuple[subprocess.Popen[str], str]:
    """A process that waits for the end of its standard input, and its identity."""
    process = subprocess.Popen(
        [*(before or []), sys.executable, "-c", f"{SAY}; sys.stdin.read()"],
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


def test_a_pid_that_is_used_again_is_another_process() -> None:
    assert state(with_part(process_identity(), 2, "1")) == "gone"


@pytest.mark.parametrize(("part", "value"), [(0, "elsewhere"), (4, "1")], ids=["host", "container"])
def test_of_another_host_or_container_nothing_is_known(part: int, value: str) -> None:
    identity = with_part(process_identity(), 1, "4194305")  # no such pid here
    assert state(identity) == "gone"
    assert state(with_part(identity, part, value)) == "unknown"


def test_a_container_that_shares_the_host_name_is_told_apart() -> None:
    alone = ["unshare", "-Urpf", "--mount-proc"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this system does not let a user have process ids of its own (unshare -Urpf)")
    process, identity = other_process(before=alone)
    try:
        assert identity.split(":")[:2] == [socket.gethostname(), "1"]
        assert state(identity) == "unknown"
    finally:
        process.communicate("")


def test_after_a_reboot_what_ran_before_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_place", lambda: ["before", processes.HOSTS_OWN_NAMESPACE, "machine"])
    before = process_identity()
    monkeypatch.setattr(processes, "_place", lambda: ["after", processes.HOSTS_OWN_NAMESPACE, "machine"])
    assert state(before) == "gone"
    monkeypatch.setattr(processes, "_place", lambda: ["after", processes.HOSTS_OWN_NAMESPACE, "another machine"])
    assert state(before) == "unknown"
    monkeypatch.setattr(processes, "_place", lambda: ["after", "4026532000", ""])
    assert state(before) == "unknown"


def test_an_older_identity_is_gone_only_if_nothing_has_its_pid() -> None:
    host = socket.gethostname()
    assert state(f"{host}:4194305") == "gone"
    assert state(f"{host}:{os.getpid()}") == "unknown"
    assert state("elsewhere:4194305") == "unknown"


@pytest.mark.parametrize("identity", ["", ":", "a", "a:b", "a:1:2", "::::::", f"{socket.gethostname()}:-1:::::"])
def test_what_cannot_be_read_is_unknown(identity: str) -> None:
    assert state(identity) == "unknown"
