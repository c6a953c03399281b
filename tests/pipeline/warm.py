"""Run `python -m MODULE` in forks of one process that has already imported the slow libraries.

In the smoke profile, a stage spends more time importing them than working. A fork starts with nothing of this project
imported, and with the working folder, environment, arguments and open files of the command that asks for it. It does
not get that command's signals, process group, namespaces or limits: tests about those start processes of their own.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SOCKET = "WARM_PYTHON"
SLOW = (
    "great_expectations", "matplotlib.pyplot", "mlflow.pyfunc", "onnxruntime", "onnxscript", "pandas",
    "pytorch_lightning", "scipy.ndimage", "scipy.stats", "skimage.feature", "sklearn.metrics", "torch.onnx",
    "dvc.cli.parser", "dvc.repo.reproduce", "dvc.stage.cache", "fastapi", "typer",
)  # fmt: skip


@contextlib.contextmanager
def warm_python(folder: Path) -> Iterator[None]:
    """Serve forks, and write to `folder` the commands that use them; see `warm_environment`."""
    fork, cold = f'exec "{sys.executable}" -IS "{__file__}"', f'exec "{sys.executable}" "$@"'
    launchers = {
        "python": f'[ "$1" = -m ] || {cold}\nshift\n{fork} "$@"',
        "dvc": f'{fork} dvc "$@"',
        "deepdigits": f'{fork} deepdigits "$@"',
    }
    for name, command in launchers.items():
        (folder / name).write_text(f"#!/bin/sh\n{command}\n")
        (folder / name).chmod(0o755)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener, (folder / "log").open("wb") as log:
        listener.bind(str(folder / "socket"))
        listener.listen(64)
        server = subprocess.Popen(
            [sys.executable, "-P", __file__, "--serve", str(listener.fileno())],
            env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
            pass_fds=[listener.fileno()],
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        server.kill()
        server.wait()


def warm_environment(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The environment in which `python -m`, `dvc` and `deepdigits` are forks."""
    return {
        **environment,
        "PATH": f"{folder}{os.pathsep}{environment['PATH']}",
        SOCKET: str(folder / "socket"),
    }


def request_fork(arguments: list[str]) -> int:
    """Run `python -m ARGUMENTS` as a fork, and return its exit code."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(os.environ[SOCKET])
        request = {"arguments": arguments, "folder": str(Path.cwd()), "environment": dict(os.environ)}
        socket.send_fds(connection, [json.dumps(request).encode()], [0, 1, 2])
        code = int(connection.recv(16) or 1)
    return code if code >= 0 else 128 - code


def serve(listener: socket.socket) -> list[str]:
    """Answer requests for ever; return the arguments in the fork that is to run them."""
    for module in SLOW:
        importlib.import_module(module)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the supervisors
    while True:
        connection, _ = listener.accept()
        if os.fork():
            connection.close()
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        listener.close()
        data, files, _, _ = socket.recv_fds(connection, 1 << 20, 3)
        child = os.fork()
        if child == 0:
            connection.close()
            return become(json.loads(data), files)
        for file in files:
            os.close(file)
        _, status = os.waitpid(child, 0)
        connection.send(str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)


def become(request: Mapping[str, Any], files: list[int]) -> list[str]:
    """Take on the open files, folder, environment and import paths of the command that asked; return its arguments."""
    for target, file in enumerate(files):
        os.dup2(file, target)
        os.close(file)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    paths = [Path(path).absolute() for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [request["folder"], *map(str, paths), *sys.path]
    arguments: list[str] = request["arguments"]
    return arguments


if __name__ == "__main__":
    if sys.argv[1] != "--serve":
        sys.exit(request_fork(sys.argv[1:]))
    module, *arguments = serve(socket.socket(fileno=int(sys.argv[2])))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
