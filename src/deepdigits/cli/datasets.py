"""The commands `deepdigits dataset ...`."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from deepdigits.data.own.findings import Findings
    from deepdigits.data.own.labelled import Labelled

datasets = typer.Typer(no_args_is_help=True, help="Describe data of your own, and check them against the description.")
console = Console(highlight=False)
TIMEOUT_SECONDS, RETRIES = 30, 2  # of downloads
PAIRS_SHOWN = 18  # in the picture of images that look alike


@datasets.command()
def add(
    name: Annotated[str, typer.Argument(help="Lowercase letters, digits and -.")],
    source: Annotated[Path, typer.Option("--from", help="IDX folder, .npz, or a folder or ZIP of pictures or WAV.")],
    kind: Annotated[str | None, typer.Option(help="idx, npz, pictures or recordings; guessed by default.")] = None,
    ink: Annotated[str, typer.Option(help="bright: bright on dark, as MNIST; dark: dark on bright.")] = "bright",
    group: Annotated[str | None, typer.Option(help="What must not be in two splits, e.g. speaker.")] = None,
    validation: Annotated[float, typer.Option(min=0.01, max=0.8, help="Share, if not given.")] = 0.1,
    test: Annotated[float, typer.Option(min=0.01, max=0.8, help="Share, if not given.")] = 0.2,
    seed: Annotated[int, typer.Option(min=0, help="Selects the images of splits that are not given.")] = 1,
    without: Annotated[list[str] | None, typer.Option(help="An image to leave out, by its name. Repeatable.")] = None,
) -> None:
    """Measure data of your own and draft datasets/NAME.yaml. The data stay where they are."""
    from typing import get_args

    from pydantic import TypeAdapter, ValidationError

    from deepdigits.core.errors import UserError
    from deepdigits.core.files import write_text
    from deepdigits.data.described import FOLDER, DatasetName, Kind, Splitting
    from deepdigits.data.own.findings import examine
    from deepdigits.data.own.reading import guess_kind, read_source, source_sha256
    from deepdigits.data.own.splitting import rows_of
    from deepdigits.release.datasets import draft

    path = FOLDER / f"{name}.yaml"
    try:
        TypeAdapter(DatasetName).validate_python(name)
    except ValidationError:
        raise UserError(f"{name!r} cannot be the name: use lowercase letters, digits and -, a letter first.") from None
    if path.exists():
        raise UserError(f"{path} exists. To compare it with the data: deepdigits dataset check {name}")
    if (kind and kind not in get_args(Kind)) or ink not in ("bright", "dark"):
        raise UserError("--kind is idx, npz, pictures or recordings; --ink is bright or dark.")
    known: Kind = kind or guess_kind(source)  # type: ignore[assignment]
    data = read_source(source, known, ink, group, without or [])  # type: ignore[arg-type]
    split = Splitting(validation=validation, test=test, seed=seed, group=group)
    rows = rows_of(data, split)
    found = examine(data)
    show(data, found, rows, Path("build") / f"{name}-alike.png")
    if found.errors:
        raise UserError(
            "\n".join(
                [*found.errors, "Remove or relabel these images in the source, or leave them out: --without NAME."]
            )
        )
    absolute = source.expanduser().resolve()
    write_text(path, draft(name, absolute, known, ink, source_sha256(absolute), data, split, rows, without or []))  # type: ignore[arg-type]
    console.print(f"Wrote {path}. Read and correct it, then run: make repro DATASET={name}", soft_wrap=True)


@datasets.command()
def check(name: Annotated[str, typer.Argument(help="The NAME of datasets/NAME.yaml.")]) -> None:
    """Compare data with datasets/NAME.yaml. Exit code 1 if something has changed or must be resolved."""
    from deepdigits.core import paths
    from deepdigits.core.errors import UserError
    from deepdigits.data.ingest.obtaining import obtain
    from deepdigits.data.ingest.sources import Downloader
    from deepdigits.data.own.findings import examine
    from deepdigits.data.own.reading import read_source, source_sha256
    from deepdigits.data.own.splitting import rows_of
    from deepdigits.release.datasets import read_dataset

    described = read_dataset(Path.cwd(), name)
    content: str | None
    if described.where.path:  # read it even if it has changed, to say how
        source = Path(described.where.path).expanduser()
        data = read_source(source, described.kind, described.ink, described.split.group, described.without)
        content = source_sha256(source)
    else:
        source, content = Path(name), described.where.sha256
        data = obtain(name, described, Downloader(paths.DOWNLOADS, TIMEOUT_SECONDS, RETRIES)).data
    rows, found = rows_of(data, described.split), examine(data)
    show(data, found, rows, Path("build") / f"{name}-alike.png")
    changed = list(found.errors)
    if content != described.where.sha256:
        changed.append(f"the content has changed: sha256 is {content}, described is {described.where.sha256}")
    if len(data.classes) != len(described.classes):
        changed.append(f"there are {len(data.classes)} classes, described are {len(described.classes)}")
    for split, count in described.images.model_dump().items():
        if len(rows[split]) != count:
            changed.append(f"{split} has {len(rows[split]):,} images, described are {count:,}")
    if changed:
        raise UserError("\n".join([f"{source} does not match datasets/{name}.yaml:", *changed]))
    console.print(f"{source} matches datasets/{name}.yaml.")


def show(data: Labelled, found: Findings, rows: Mapping[str, Sized], alike: Path) -> None:
    """Print what was found in a source, and write the pairs of images that look alike to a picture."""
    from deepdigits.plotting.figures import save_captioned

    splits = ", ".join(f"{len(part):,} {name}" for name, part in rows.items())
    console.print(f"{len(data):,} images of {len(data.classes)} classes: {splits}", markup=False)
    counts = ", ".join(f"{name} {count:,}" for name, count in list(found.counts.items())[:30])
    console.print(f"classes: {counts}{' ...' if len(found.counts) > 30 else ''}", markup=False)
    for note in data.notes:
        console.print(f"note: {note}", markup=False)
    for warning in found.warnings:
        console.print(f"warning: {warning}", markup=False)
    if len(found.alike):
        shown = found.alike[:PAIRS_SHOWN].ravel()
        captions = [f"{data.names[row]}\n{data.classes[data.labels[row]]}" for row in shown]
        save_captioned(data.images[shown], captions, alike, "Pairs of images that look alike", columns=6)
        console.print(f"The first {len(shown) // 2} pairs: {alike}", markup=False)
