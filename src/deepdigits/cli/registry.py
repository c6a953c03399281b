"""The commands for registered models. Exit codes: 0 success, 2 usage or store error, 3 refused or a check failed."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from deepdigits.core.errors import UserError

if TYPE_CHECKING:
    from deepdigits.promotion.promote import Outcome

REFUSED = 3
Reference = Annotated[str, typer.Argument(help="NAME, NAME@alias or NAME/version, e.g. mnist-cnn@candidate.")]
Name = Annotated[str, typer.Argument(help="A registered model, e.g. mnist-cnn.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def add_registry_commands(commands: typer.Typer) -> None:
    for command in (promote, rollback, history, audit, abandon, verify):
        commands.command()(_exits_with_2(command))


def promote(
    reference: Reference,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide, but change and record nothing.")] = False,
    allow_other_data: Annotated[
        bool, typer.Option("--allow-other-data", help="Compare even if the champion was made with different data.")
    ] = False,
    source: Annotated[
        str | None, typer.Option("--from", help="Tracking URI of the store to copy the champion from.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--to", help="Tracking URI of the store to copy to and decide in.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score a version against the champion on the test images here, and promote it if the rules allow it."""
    from deepdigits.core.compute import use_threads
    from deepdigits.core.loading import read_params
    from deepdigits.promotion.promote import promote as act
    from deepdigits.release.params import Params

    params = read_params(Params)
    use_threads(params.compute.threads)
    if (source is None) != (target is None):
        raise UserError("--from and --to must be given together: the store to copy from and the store to copy to.")
    if source and target:
        from deepdigits.promotion.transfer import transfer, using_store

        if dry_run:
            raise UserError("--dry-run cannot be combined with --from and --to, since copying changes the other store.")
        copied = transfer(reference, source, target)
        with using_store(target):
            outcome = act(f"{copied.name}/{copied.version}", params, allow_other_data=allow_other_data)
    else:
        outcome = act(reference, params, dry_run=dry_run, allow_other_data=allow_other_data)
    _show(outcome, as_json, note=" (dry run: nothing was changed)" if dry_run else "")
    if outcome.action == "refused":
        raise typer.Exit(REFUSED)


def rollback(name: Name, as_json: AsJson = False) -> None:
    """Move the alias `champion` back to the version that had it before."""
    from deepdigits.promotion.promote import rollback as act

    _show(act(name), as_json)


def history(name: Name, as_json: AsJson = False) -> None:
    """Print every decision about a model, oldest first."""
    from deepdigits.ops.tracking import open_store
    from deepdigits.promotion.ledger import about
    from deepdigits.promotion.registered import find_model

    client = open_store()
    find_model(client, name)
    entries = about(client, name)
    if as_json:
        print(json.dumps(entries, indent=2))
        return
    console = Console(highlight=False, markup=False)
    for entry in entries:
        moved = f"champion {entry['champion_before'] or 'none'} -> {entry['champion'] or 'none'}"
        console.print(f"{entry['sequence']:4}  {entry['time']}  version {entry['version']} {entry['action']}, {moved}")
        console.print("\n".join(f"      {reason}" for reason in entry["reasons"]))
        account = f" ({entry['account']})" if entry.get("account") else ""
        console.print(f"      claimed by {entry['by']}{account}, run {entry['run_id']}")
    if not entries:
        console.print(f"No decision about {name} yet. Make one: deepdigits promote {name}")


def audit(
    as_json: AsJson = False,
    rewrite: Annotated[
        bool,
        typer.Option("--rewrite", help="First rewrite the ledger's file from the entries in the store."),
    ] = False,
) -> None:
    """Recompute the ledger's chain and compare it with the aliases and records in the store."""
    from deepdigits.ops.tracking import open_store
    from deepdigits.promotion.audit import audit as check
    from deepdigits.promotion.ledger import write_file

    client = open_store()
    if rewrite:
        write_file(client)
    count, faults = check(client)
    if as_json:
        print(json.dumps({"entries": count, "faults": faults}, indent=2))
    else:
        Console().print("\n".join(faults) or f"{count} entries, and everything agrees.", markup=False, highlight=False)
    if faults:
        raise typer.Exit(REFUSED)


def abandon(run: Annotated[str, typer.Argument(help="The run of the decision, as shown by promote or audit.")]) -> None:
    """Give up an interrupted decision that promote can neither complete nor undo."""
    from deepdigits.ops.tracking import open_store
    from deepdigits.promotion.recovery import abandon as act

    Console(highlight=False).print(act(open_store(), run), markup=False)


def verify(
    reference: Reference,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Also run the pipeline of its commit from scratch and compare bytes.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Prove where a registered version comes from."""
    from deepdigits.core.loading import read_params
    from deepdigits.promotion.verify import verify as check
    from deepdigits.release.params import Params

    checks = check(
        reference, read_params(Params), rebuild=rebuild, say=lambda text: Console(stderr=True).print(text, markup=False)
    )
    if as_json:
        print(json.dumps([asdict(item) for item in checks], indent=2))
    else:
        table = Table("", "", box=None, show_header=False, title=Text(reference), title_justify="left")
        for item in checks:
            table.add_row("[green]yes[/]" if item.passed else "[red]NO[/]", Text(f"{item.question}: {item.detail}"))
        Console().print(table)
    if not all(item.passed for item in checks):
        raise typer.Exit(REFUSED)


def _show(outcome: Outcome, as_json: bool, note: str = "") -> None:
    if as_json:
        print(json.dumps(asdict(outcome), indent=2))
        return
    lines = [*outcome.recovered, *outcome.reasons]
    title = f"{outcome.name} version {outcome.version}: {outcome.action}{note}"
    style = "red" if outcome.action == "refused" else "green"
    Console().print(Panel(Text("\n".join(lines)), title=Text(title), title_align="left", border_style=style))


def _exits_with_2(command: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except Exception as error:
            message = Text(_user_message(error))  # not markup, since it may quote text that looks like markup
            panel = Panel(message, title=f"{command.__name__} stopped", border_style="red", title_align="left")
            Console(stderr=True, highlight=False).print(panel)
            raise typer.Exit(2) from None

    return run


def _user_message(error: Exception) -> str:
    """The message of an error that the user can fix. Any other error is a bug of ours and is raised again."""
    from deepdigits.core.addresses import masked
    from deepdigits.ops.tracking import STORE_ERRORS

    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, STORE_ERRORS):
        return f"The store failed: {masked(str(error))}\nRun the command again; it completes or undoes what was begun."
    raise error
