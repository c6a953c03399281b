"""Process identities, from which another process can later determine whether the first one is still running."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Literal

import psutil

from deepdigits.core.files import sha256

HOSTS_OWN_NAMESPACE = "4026531836"  # the PID namespace's inode, fixed in Linux; a container has another

State = Literal["alive", "gone", "unknown"]


def process_identity() -> str:
    """`HOST:PID:START:BOOT:NAMESPACE:MACHINE` of this process.

    START, counted from boot, distinguishes a process from a later one with the same PID. BOOT and NAMESPACE
    distinguish machines and containers that share a host name. MACHINE, a hash, is empty in a container. A part that
    cannot be determined is empty.
    """
    return ":".join([socket.gethostname(), str(os.getpid()), _start(os.getpid()), *_place()])


def state(identity: str) -> State:
    """Whether the process with this identity, or with one in the older form `HOST:PID`, is still running.

    "unknown": it ran on another host or in another container, or the identity is malformed. An identity in the older
    form is also "unknown" while its PID is in use, because the PID may now belong to another process.
    """
    parts = identity.split(":")
    if len(parts) not in (2, 6) or not parts[1].isdecimal() or parts[0] != socket.gethostname():
        return "unknown"
    pid = int(parts[1])
    if len(parts) == 2:
        return "unknown" if psutil.pid_exists(pid) else "gone"
    _, _, start, *place = parts
    here = _place()
    if place != here:
        rebooted = place[2] and place[1:] == here[1:]
        return "gone" if rebooted else "unknown"
    if not psutil.pid_exists(pid):
        return "gone"
    try:
        return "alive" if _start(pid) == start else "gone"
    except (OSError, psutil.Error):
        return "unknown"


def _start(pid: int) -> str:
    """When a process started; "ended" if it is only waiting for its parent to reap it."""
    try:
        # psutil's wall-clock time would shift whenever the clock is set.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except FileNotFoundError:
        return f"{psutil.Process(pid).create_time():.2f}"
    return "ended" if fields[0] in "ZX" else fields[19]


def _place() -> list[str]:
    """The boot ID, the PID namespace, and the machine if it is certain."""
    boot = _text(Path("/proc/sys/kernel/random/boot_id"))
    try:
        namespace = str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        namespace = ""
    machine = _text(Path("/etc/machine-id")) if namespace == HOSTS_OWN_NAMESPACE else ""
    # machine-id(5) says not to publish the ID itself.
    return [boot, namespace, sha256(f"deepdigits {machine}".encode())[:16] if machine else ""]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
