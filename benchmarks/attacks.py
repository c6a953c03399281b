"""Measures how long `/healthz` takes while a server receives requests that are costly to read.

Run `python -m benchmarks.attacks PORT PID` with the port and process ID of a server on this machine. Four concurrent
clients send each attack for ten seconds, while the health check is requested a hundred times a second.
"""

from __future__ import annotations

import collections
import contextlib
import http.client
import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import psutil
from PIL import Image

CLIENTS, SECONDS = 4, 10
PAUSE = 0.01
BOUNDARY = "attack"


@dataclass(frozen=True)
class Attack:
    """One request."""

    path: str
    content_type: str
    body: bytes


def progressive_jpeg(scans: int = 4000) -> bytes:
    """A blank 70 KB picture that repeats its last scan."""
    buffer = io.BytesIO()
    Image.new("L", (1900, 1900), 255).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (width, height), 255).save(buffer, "PNG")
    return buffer.getvalue()


def form(path: str, *files: bytes) -> Attack:
    start = b'--%s\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n' % BOUNDARY.encode()
    body = b"".join(start + data + b"\r\n" for data in files) + b"--%s--\r\n" % BOUNDARY.encode()
    return Attack(path, f"multipart/form-data; boundary={BOUNDARY}", body)


def wrong_numbers() -> Attack:
    body = json.dumps({"images": np.full((256, 28, 28), 256).tolist()}).encode()
    return Attack("/v1/classify", "application/json", body)


def many_swaps() -> Attack:
    """A valid request with a long response."""
    body = json.dumps({"images": np.full((256, 28, 28), 7).tolist()}).encode()
    return Attack("/v1/swap", "application/json", body)


ATTACKS: dict[str, Callable[[], Attack]] = {
    "a progressive JPEG with 4,000 scans": lambda: form("/v1/classify", progressive_jpeg()),
    "256 PNGs of 4 megapixels": lambda: form("/v1/classify", *[png(2000, 2000)] * 256),
    "24 PNGs of 4 megapixels": lambda: form("/v1/detect", *[png(2000, 2000)] * 24),
    "256 images of wrong numbers": wrong_numbers,
    "a PNG of 4,000,000 x 1": lambda: form("/v1/detect", png(4_000_000, 1)),
    "256 digits swapped to all ten": many_swaps,
}


def send(port: int, attack: Attack) -> int:
    """Send an attack and return the status of the response."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("POST", attack.path, attack.body, {"Content-Type": attack.content_type})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def fire(port: int, name: str, seconds: float) -> dict[str, int]:
    """Send an attack repeatedly and count the statuses that come back."""
    attack, statuses, end = ATTACKS[name](), collections.Counter[str](), time.monotonic() + seconds

    def client() -> None:
        while time.monotonic() < end:
            try:
                statuses[str(send(port, attack))] += 1
            except OSError as error:
                statuses[type(error).__name__] += 1

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return dict(statuses)


def health(port: int, until: Callable[[], bool]) -> np.ndarray:
    """Latencies of the health check in milliseconds, requested until `until` returns true."""
    connection, taken = http.client.HTTPConnection("127.0.0.1", port, timeout=120), []
    while not until():
        start = time.perf_counter()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        taken.append(1000 * (time.perf_counter() - start))
        time.sleep(PAUSE)
    connection.close()
    return np.array(taken)


def under(port: int, name: str, seconds: float = SECONDS) -> tuple[np.ndarray, dict[str, int]]:
    """Latencies of the health check while another process attacks, and the statuses the attacker received."""
    command = [sys.executable, "-m", "benchmarks.attacks", "fire", str(port), name, str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as attacker:
        taken = health(port, lambda: attacker.poll() is not None)
        assert attacker.stdout
        return taken, json.loads(attacker.stdout.read())


def memory(process: psutil.Process) -> int:
    """Bytes of memory that only a server and its descendant processes use (USS)."""
    total = process.memory_full_info().uss
    for one in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # a reader process was killed meanwhile
            total += one.memory_full_info().uss
    return int(total)


def main() -> None:
    if sys.argv[1] == "fire":
        print(json.dumps(fire(int(sys.argv[2]), sys.argv[3], float(sys.argv[4]))))
        return
    port, process = int(sys.argv[1]), psutil.Process(int(sys.argv[2]))
    for name in ATTACKS:
        most, stop = [memory(process)], threading.Event()

        def watch(most: list[int] = most, stop: threading.Event = stop) -> None:
            while not stop.wait(0.1):
                most.append(memory(process))

        watcher = threading.Thread(target=watch)
        watcher.start()
        taken, statuses = under(port, name)
        stop.set()
        watcher.join()
        p50, p99, worst = np.percentile(taken, [50, 99, 100])
        times = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, worst {worst:.1f} ms of {len(taken)}"
        print(f"{name}: {times}; {max(most) / 2**20:.0f} MiB; answers {statuses}", flush=True)


if __name__ == "__main__":
    main()
