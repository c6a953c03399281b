"""Real clusters on loopback: two Ray nodes, and a SLURM controller with two nodes."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.pipeline.servers import free_port


@dataclass(frozen=True)
class RayCluster:
    """`environment` is what a driver needs; `nodes` are the processes of the second and later nodes."""

    environment: dict[str, str]
    node: subprocess.Popen[bytes]


@contextlib.contextmanager
def ray_cluster(folder: Path) -> Iterator[RayCluster]:
    """Run a head and a second node, each with two CPUs, that share a token."""
    port, sockets = free_port(), tempfile.mkdtemp(prefix="ray-")  # the path of a socket may have 107 bytes
    env = {
        **os.environ,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    env |= {"RAY_ADDRESS": "", "RAY_TMPDIR": sockets}
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    head = [*ray, "start", "--head", "--port", str(port), "--num-cpus", "2", "--include-dashboard", "false", "--block"]
    second = [*ray, "start", "--address", f"127.0.0.1:{port}", "--num-cpus", "2", "--block"]
    log = (folder / "ray.log").open("wb")
    processes = []
    try:
        for command in ([*head, "--node-ip-address", "127.0.0.1"], [*second, "--node-ip-address", "127.0.0.1"]):
            processes.append(
                subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
            )
            _await_nodes(ray, env, port, processes, folder)
        driver = {key: env[key] for key in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_USAGE_STATS_ENABLED")}
        yield RayCluster({**driver, "RAY_ADDRESS": f"127.0.0.1:{port}", "ENGINE": "ray"}, processes[1])
    finally:
        log.close()
        for process in reversed(processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 15)
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
        shutil.rmtree(sockets, ignore_errors=True)


def _await_nodes(
    ray: list[str], env: dict[str, str], port: int, processes: list[subprocess.Popen[bytes]], folder: Path
) -> None:
    deadline = time.monotonic() + 180
    status = [*ray, "status", "--address", f"127.0.0.1:{port}"]
    while True:
        found = subprocess.run(status, env=env, capture_output=True, text=True, check=False).stdout
        if f"/{2.0 * len(processes)} CPU" in found:
            return
        assert processes[-1].poll() is None, (folder / "ray.log").read_text()
        assert time.monotonic() < deadline, f"the nodes did not start:\n{found}\n{(folder / 'ray.log').read_text()}"
        time.sleep(1)


SLURM = """ClusterName=test
SlurmctldHost={host}
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
ReturnToService=2
MpiDefault=none
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=2 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=2 State=UNKNOWN
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE
"""


@contextlib.contextmanager
def slurm_cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Run a SLURM controller and two nodes on this machine; yield the environment in which its commands find it."""
    if os.geteuid() or not all(shutil.which(name) for name in ("slurmctld", "slurmd", "srun", "munged")):
        pytest.skip("SLURM (Debian: munge, slurm-wlm) is not installed, or this is not root")
    ports = [free_port() for _ in range(3)]
    host = socket.gethostname().partition(".")[0]
    config = folder / "slurm.conf"
    config.write_text(SLURM.format(host=host, folder=folder, controller=ports[0], first=ports[1], second=ports[2]))
    for name in ("state", "spool-n1", "spool-n2"):
        (folder / name).mkdir()
    env = {**os.environ, "SLURM_CONF": str(config)}
    _start_munge()
    processes = [subprocess.Popen(["slurmctld", "-D", "-f", str(config)], env=env, stderr=subprocess.DEVNULL)]
    try:
        for name in ("n1", "n2"):
            command = ["slurmd", "-D", "-N", name, "-f", str(config)]
            processes.append(subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL))
        deadline = time.monotonic() + 60
        while True:
            found = subprocess.run(["sinfo", "-h", "-o", "%T %D"], env=env, capture_output=True, text=True, check=False)
            if found.stdout.split() == ["idle", "2"]:
                break
            assert time.monotonic() < deadline, f"SLURM did not start: {found.stdout}{found.stderr}"
            time.sleep(0.5)
        yield {"SLURM_CONF": str(config)}
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait(30)


def _start_munge() -> None:
    """Start munged, if it is not running. Without systemd, the package does not do it."""
    if subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode == 0:
        return
    Path("/run/munge").mkdir(exist_ok=True)
    shutil.chown("/run/munge", "munge", "munge")
    subprocess.run(["setpriv", "--reuid=munge", "--regid=munge", "--clear-groups", "munged"], check=True)
