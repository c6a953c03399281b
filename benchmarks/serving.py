"""Compares requests per second and latency of `deepdigits serve` and `mlflow models serve`: same champion, on loopback.

Run `python -m benchmarks.serving` after `make repro` and `make promote`; it takes about a quarter of an hour. It needs
the load tool hey (Debian: apt install hey). After the comparison, it runs for ten minutes at half the rate reached,
counts errors, and checks whether memory grows.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.common import Row, record, split
from deepdigits.core.errors import UserError
from deepdigits.ops.exit import exits_cleanly
from deepdigits.ops.tracking import store_uri

MODEL = "mnist-cnn"
SECONDS, ROUNDS = 10, 3
FEW, MANY = 4, 64  # clients
SOAK_SECONDS = 600
WARM_UP = 60  # seconds before memory is first measured


@dataclass(frozen=True)
class Load:
    """What hey measured."""

    rate: float
    p99_ms: float
    failures: int


@dataclass(frozen=True)
class Target:
    """Where to send the load, and the file with the body of each request."""

    url: str
    body: Path


@exits_cleanly
def main() -> None:
    if shutil.which("hey") is None:
        raise UserError("The load tool hey is not installed. On Debian, run: apt install hey")
    image = split("test").images[:1].tolist()
    with (
        tempfile.TemporaryDirectory() as folder,
        server("deepdigits serve", ours, "readyz") as (our_process, our_port),
        server("mlflow models serve", theirs, "ping") as (_, their_port),
    ):
        our_body, their_body = Path(folder) / "ours.json", Path(folder) / "theirs.json"
        our_body.write_text(json.dumps({"images": image}), encoding="utf-8")
        their_body.write_text(json.dumps({"inputs": image}), encoding="utf-8")
        sides = (
            Target(f"http://127.0.0.1:{our_port}/v1/classify", our_body),
            Target(f"http://127.0.0.1:{their_port}/invocations", their_body),
        )
        few, many = compare(sides, FEW), compare(sides, MANY)
        soaked, before, after = soak(our_process, sides[0], many[0].rate / 2)
    record("serving", [*rows(few, FEW, "reported"), *rows(many, MANY, ">= 5x"), *soak_rows(soaked, before, after)])


def compare(sides: tuple[Target, Target], clients: int) -> tuple[Load, Load]:
    """Put both under the same load, in turns. For each, return the round with the median rate."""
    rounds = [tuple(press(side, clients, SECONDS) for side in sides) for _ in range(ROUNDS)]
    mine, peer = (sorted((pair[side] for pair in rounds), key=lambda load: load.rate)[ROUNDS // 2] for side in (0, 1))
    return mine, peer


def rows(loads: tuple[Load, Load], clients: int, target: str) -> list[Row]:
    mine, peer = loads
    ratio = mine.rate / peer.rate
    return [
        Row(
            f"one image a request, {clients} clients",
            f"{mine.rate:.0f}/s",
            f"{peer.rate:.0f}/s (mlflow models serve)",
            f"{ratio:.1f}x",
            target,
            target == "reported" or ratio >= 5,
        ),
        Row("p99 of the same", f"{mine.p99_ms:.1f} ms", f"{peer.p99_ms:.1f} ms", "", "reported", True),
    ]


def soak_rows(soaked: Load, before: int, after: int) -> list[Row]:
    growth = after / before
    return [
        Row(
            f"{SOAK_SECONDS // 60} minutes at half that rate ({soaked.rate:.0f}/s): failed requests",
            str(soaked.failures),
            "",
            "",
            "0",
            soaked.failures == 0,
        ),
        Row(
            "the same: memory at the end, over that after a minute",
            f"{after / 2**20:.0f} MiB",
            f"{before / 2**20:.0f} MiB",
            f"{growth:.3f}",
            "<= 1.05",
            growth <= 1.05,
        ),
    ]


def ours(port: int) -> list[str]:
    return [sys.executable, "-m", "deepdigits", "serve", "--port", str(port)]


def theirs(port: int) -> list[str]:
    model = f"models:/{MODEL}@champion"
    return [sys.executable, "-m", "mlflow", "models", "serve", "-m", model, "--env-manager", "local", "-p", str(port)]


@contextlib.contextmanager
def server(name: str, command: object, path: str) -> Iterator[tuple[psutil.Process, int]]:
    """Start a server on a free port, with default settings."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": store_uri(),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    process = subprocess.Popen(
        command(port),  # type: ignore[operator]
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not answers(f"http://127.0.0.1:{port}/{path}"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise UserError(f"{name} did not start. Is there a champion? Run first: make promote")
            time.sleep(0.5)
        yield psutil.Process(process.pid), port
    finally:
        subprocess.run(["kill", "--", f"-{process.pid}"], check=False)
        process.wait(30)


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except (OSError, urllib.error.URLError):
        return False
    return True


def press(target: Target, clients: int, duration: int, rate_per_client: float = 0) -> Load:
    """Have clients send requests as fast as they are answered, or at a fixed rate."""
    limit = ["-q", f"{rate_per_client:.0f}"] if rate_per_client else []
    command = ["hey", "-z", f"{duration}s", "-c", str(clients), *limit, "-m", "POST", "-T", "application/json"]
    command += ["-D", str(target.body), target.url]
    return parse(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def parse(text: str) -> Load:
    """Parse hey's report."""
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])  # type: ignore[index]
    p99 = re.search(r"99%+ in ([\d.]+) secs", text)
    answered = {int(code): int(count) for code, count in re.findall(r"\[(\d{3})\]\s+(\d+) responses", text)}
    broken = sum(int(count) for count in re.findall(r"\[(\d+)\]\s+(?:Post|Get)", text))
    failures = broken + sum(count for code, count in answered.items() if code != 200)
    return Load(rate, 1000 * float(p99[1]) if p99 else float("nan"), failures if answered else failures + 1)


def soak(process: psutil.Process, target: Target, rate: float) -> tuple[Load, int, int]:
    """Apply load for ten minutes; also return the server's memory a minute after the start and at the end."""
    first = press(target, MANY, WARM_UP, rate / MANY)
    before = process.memory_info().rss
    rest = press(target, MANY, SOAK_SECONDS - WARM_UP, rate / MANY)
    return Load(rest.rate, rest.p99_ms, first.failures + rest.failures), before, process.memory_info().rss


if __name__ == "__main__":
    main()
