"""Measures training beside busy processes, for several ways in which OpenMP's threads may wait for each other."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.common import Row, record
from deepdigits.ops.exit import exits_cleanly

DEFAULT, ADVISED = "GOMP_SPINCOUNT=300000", "OMP_WAIT_POLICY=passive"  # libgomp's, and that for a busy machine
POLICIES = (DEFAULT, "GOMP_SPINCOUNT=30000", "GOMP_SPINCOUNT=3000", ADVISED)
LOADS = (0, 1, 2)  # busy processes
SECONDS = 6
PROGRAM = """
import sys, time, torch
from deepdigits.core.compute import use_threads
from deepdigits.core.loading import read_params
from deepdigits.release.params import Params
from deepdigits.tasks.cnn.network import Cnn
from deepdigits.tasks.rnn.network import make_rnn
params = read_params(Params)
use_threads(params.compute.threads)
name, seconds = sys.argv[1], float(sys.argv[2])
make, config = {"cnn": (Cnn, params.train_cnn), "rnn": (make_rnn, params.train_rnn)}[name]
net = make(config.net).train()
images, labels = torch.rand(config.fit.batch_size, 1, 28, 28), torch.randint(10, (config.fit.batch_size,))
def step():
    net.zero_grad()
    torch.nn.functional.cross_entropy(net(images), labels).backward()
for _ in range(5):
    step()
start, steps = time.perf_counter(), 0
while time.perf_counter() - start < seconds:
    step()
    steps += 1
print(steps / (time.perf_counter() - start))
"""


@exits_cleanly
def main() -> None:
    cores = os.cpu_count() or 1
    rows = []
    for name in ("cnn", "rnn"):
        alone = speed(name, DEFAULT)
        for policy in POLICIES:
            for load in LOADS:
                with busy(load):
                    found = speed(name, policy)
                ratio, wanted = found / alone, 0.97 * cores / (cores + load)  # 97 % of the fair share
                rows.append(
                    Row(
                        f"{name.upper()}, {policy}, beside {load} busy process{'' if load == 1 else 'es'}",
                        f"{found:.1f} steps/s",
                        f"{alone:.1f} steps/s (alone, libgomp's default)",
                        f"{ratio:.2f}",
                        f">= {wanted:.2f}" if policy == ADVISED else "reported",
                        ratio >= wanted,
                    )
                )
    record("waiting", rows)


def speed(name: str, policy: str) -> float:
    """Training steps per second of a fresh process, since OpenMP reads its settings once."""
    key, _, value = policy.partition("=")
    others = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")}
    command = [sys.executable, "-c", PROGRAM, name, str(SECONDS)]
    return float(subprocess.run(command, env={**others, key: value}, check=True, capture_output=True).stdout)


@contextmanager
def busy(count: int) -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
