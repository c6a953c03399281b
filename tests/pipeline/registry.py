"""Shortcuts for the registry tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from deepdigits.cli.app import commands
from deepdigits.core.loading import read_params
from deepdigits.ops.tracking import open_store
from deepdigits.promotion import ledger
from deepdigits.promotion.audit import audit
from deepdigits.promotion.promote import Outcome, promote
from deepdigits.promotion.transaction import alias_version
from deepdigits.release.params import Params


def decide(reference: str, **options: bool) -> Outcome:
    return promote(reference, read_params(Params), **options)


def run_cli(*arguments: str) -> Result:
    return CliRunner().invoke(commands, arguments)


def aliases(name: str) -> dict[str, int | None]:
    client = open_store()
    return {alias: alias_version(client, name, alias) for alias in ("champion", "previous")}


def faults() -> list[str]:
    return audit(open_store())[1]


def entries() -> list[dict[str, Any]]:
    return list(ledger.load(open_store()).entries)


def ledger_file() -> Path:
    (path,) = Path("mlruns/artifacts").rglob("promotions.jsonl")
    return path
