"""The command `deepdigits`. Run it from the repository's root."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deepdigits.cli_registry import add_registry_commands
from deepdigits.errors import UserError, exits_cleanly

commands = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
add_registry_commands(commands)


@commands.command()
def summary() -> None:
    """Show what the pipeline made; register what the registry does not have yet."""
    from deepdigits.config.loading import read_params
    from deepdigits.config.params import Params
    from deepdigits.packaged import register_all
    from deepdigits.summary import summary_panel

    profile = read_params(Params).profile
    Console().print(summary_panel(register_all(profile), profile))


@commands.command()
def workspace(profile: str, directory: Path) -> None:
    """Make DIRECTORY a working copy whose params.yaml has profiles/PROFILE.yaml over it."""
    from deepdigits.workspace import prepare

    prepare(Path.cwd(), directory, profile)


@commands.command()
def ui(port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine.")] = 5000) -> None:
    """Serve the MLflow UI on this machine."""
    from deepdigits.tracking import open_store, store_uri

    open_store()
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise UserError(f"Port {port} is in use. Choose another one: make ui PORT={port + 1}")
    Console().print(f"http://127.0.0.1:{port}/#/experiments?workflowType=machine_learning  (Ctrl-C ends it)")
    # One worker and no job runner: this serves one reviewer, and starts in a third of the time.
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    arguments = ["ui", "--backend-store-uri", store_uri(), "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", *arguments])


@exits_cleanly
def app() -> None:
    commands()
