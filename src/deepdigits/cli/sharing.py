"""The commands that share outputs between machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def add_sharing_commands(commands: typer.Typer) -> None:
    for command in (remote, share, fetch):
        commands.command()(command)


def remote(
    url: Annotated[str, typer.Argument(help="A folder, or an address: s3://, ssh://, webdav://, https://.")],
    shared: Annotated[bool, typer.Option("--shared", help="In git, for everyone who clones this.")] = False,
) -> None:
    """Set where results are shared."""
    from deepdigits.release.sharing import set_remote

    set_remote(Path.cwd(), url, shared)


def share() -> None:
    """Upload the outputs and experiments of this working copy."""
    from deepdigits.release.sharing import share as upload

    upload(Path.cwd())


def fetch() -> None:
    """Download the outputs that the dvc.lock files name, instead of training them."""
    from deepdigits.release.sharing import fetch as download

    download(Path.cwd())
