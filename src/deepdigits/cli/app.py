"""The command `deepdigits`. Run it from the root of the repository."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from deepdigits.cli.datasets import datasets
from deepdigits.cli.registry import add_registry_commands
from deepdigits.cli.sharing import add_sharing_commands
from deepdigits.cli.sweeps import add_sweep_commands
from deepdigits.core.errors import Terminated, UserError
from deepdigits.ops.exit import exits_cleanly

commands = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
add_registry_commands(commands)
add_sharing_commands(commands)
add_sweep_commands(commands)
commands.add_typer(datasets, name="dataset")


@commands.command()
def summary() -> None:
    """Show what the pipeline made, and register the models that are new. Exit code 3 if a model is refused."""
    from deepdigits.core.loading import read_params
    from deepdigits.release.params import Params
    from deepdigits.release.summary import register_all, summary_panel

    params = read_params(Params)
    registered, refused = register_all(params.profile)
    Console().print(summary_panel(registered, refused, params.profile))
    if refused:
        raise typer.Exit(3)


@commands.command()
def check() -> None:
    """Check that the dvc.lock files match this tree, without running anything. Exit code 1 if they do not."""
    from deepdigits.release.lockcheck import check_lock, other_environment

    for difference in other_environment(Path.cwd()):
        Console(stderr=True).print(
            f"[yellow]Trained in a different environment:[/] {escape(difference)} Figures hold, but bytes may differ."
        )
    faults = check_lock(Path.cwd())
    if faults:
        raise UserError(
            "dvc.lock does not match this tree:\n" + "\n".join(faults) + "\nTo update it: make repro-all\n"
            "If a stage has only lost a dep, DVC does not run it again: dvc repro --force --single-item STAGE"
        )
    Console().print("dvc.lock matches this tree.")


@commands.command()
def workspace(
    profile: str,
    directory: Path,
    dataset: Annotated[str | None, typer.Option(help="The data of datasets/DATASET.yaml instead of MNIST.")] = None,
    glyphs: Annotated[bool, typer.Option(help="Refuse data that are not declared to be glyphs.")] = False,
) -> None:
    """Make DIRECTORY a working copy whose params.yaml has profiles/PROFILE.yaml over it."""
    from deepdigits.release.workspace import prepare

    prepare(Path.cwd(), directory, profile, dataset or None, glyphs)


@commands.command()
def ui(port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine.")] = 5000) -> None:
    """Serve the MLflow UI on this machine."""
    from deepdigits.ops.tracking import open_store, store_uri

    open_store()
    _refuse_taken("127.0.0.1", port, f"make ui PORT={port + 1}")
    Console().print(f"http://127.0.0.1:{port}/#/experiments?workflowType=machine_learning  (Ctrl-C to stop)")
    # One worker and no job runner are enough for one reviewer, and start in a third of the time.
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    arguments = ["ui", "--backend-store-uri", store_uri(), "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", *arguments])


@commands.command()
def serve(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine.")] = 8000,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 means all.")] = "127.0.0.1",
    dataset: Annotated[str | None, typer.Option(help="Whose champions, e.g. mnist; docs/own-data.md.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=256, help="Threads per network; by default one per core.")
    ] = None,
    refresh_seconds: Annotated[float, typer.Option(min=0.1, help="Seconds between checks for a new champion.")] = 5,
    allowed_host: Annotated[
        list[str] | None, typer.Option(help="A name to accept besides localhost and HOST; * accepts any. Repeatable.")
    ] = None,
    root_path: Annotated[str, typer.Option(help="The path prefix that a reverse proxy strips, e.g. /digits.")] = "",
) -> None:
    """Serve the champions over HTTP, with a page to draw on."""
    from joblib import cpu_count

    from deepdigits.ops.tracking import open_store
    from deepdigits.serving.app import create_app
    from deepdigits.serving.champions import ChampionWatch
    from deepdigits.serving.limits import LOCAL
    from deepdigits.serving.listening import address_of, answer, listening

    prefix = f"/{root_path.strip('/')}".rstrip("/")
    with listening(host, port) as sockets:
        open_store()
        app = create_app(
            ChampionWatch(dataset, threads or cpu_count()), refresh_seconds, [*LOCAL, host, *(allowed_host or [])]
        )
        Console().print(f"{address_of(host, port, prefix)}  (Ctrl-C to stop; the API is documented at {prefix}/docs)")
        with contextlib.suppress(Terminated, KeyboardInterrupt):
            answer(app, sockets, prefix)


def _refuse_taken(host: str, port: int, instead: str) -> None:
    with socket.socket() as probe:
        probe.settimeout(2)
        if probe.connect_ex((host, port)) == 0:
            raise UserError(f"Port {port} is in use. Choose another one: {instead}")


@exits_cleanly
def app() -> None:
    commands()
