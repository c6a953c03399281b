"""Stage `ingest`: fetch and verify the four MNIST files, then write the splits and their manifest."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.panel import Panel

from deepdigits.core import paths
from deepdigits.core.addresses import masked
from deepdigits.core.errors import UserError
from deepdigits.core.files import write_bytes, write_json
from deepdigits.core.loading import read_params
from deepdigits.core.sections import StageParams
from deepdigits.data.config import Ingest, Own
from deepdigits.data.digits.manifest import Origin, describe
from deepdigits.data.digits.splits import Split, save_split, stratified_rows, subset
from deepdigits.data.ingest.origins import ORIGINS
from deepdigits.data.ingest.sources import (
    Downloader,
    Unreachable,
    digits_splits,
    fetch_all,
    mnist_splits,
    own_mirror,
    raw_bytes,
)
from deepdigits.data.own.labelled import bright
from deepdigits.data.own.preparing import input_of
from deepdigits.data.own.reading import read_source, source_sha256
from deepdigits.data.own.splitting import rows_of
from deepdigits.ops.exit import exits_cleanly
from deepdigits.ops.lineage import stage_lineage
from deepdigits.ops.tracking import DatasetIdentity, stage_run

console = Console(stderr=True, highlight=False)


class Parameters(StageParams):
    ingest: Ingest


@exits_cleanly
def main() -> None:
    params = read_params(Parameters)
    config = params.ingest
    splits, manifest, files, origin = own_data(config, config.own) if config.own else shipped_data(config)

    for file_name, data in files.items():
        write_bytes(paths.RAW / file_name, data)
    for split_name, split in splits.items():
        save_split(split, paths.split_file(split_name))
    write_json(paths.MANIFEST, manifest)  # last: if the manifest exists, everything else does too

    lineage = stage_lineage("ingest", params.profile)
    with stage_run(lineage, DatasetIdentity.of(manifest), "ingest", {"mirrors": origin}, "ingest") as run:
        run.params({"ingest": config.model_dump() | {"mirrors": [masked(mirror) for mirror in config.mirrors]}})
        run.metrics({f"{split_name}/images": float(len(split)) for split_name, split in splits.items()})
        run.file(paths.MANIFEST)
        run.description(f"{manifest['title']}, split into train, validation and test.")
    console.print(
        f"{manifest['name']}: " + ", ".join(f"{len(split):,} {split_name}" for split_name, split in splits.items())
    )


Ingested = tuple[dict[str, Split], dict[str, Any], dict[str, bytes], str]  # splits, manifest, raw files, where from


def shipped_data(config: Ingest) -> Ingested:
    """MNIST, or the digits that replace it offline."""
    name, train, test, files, mirrors = get_images(config)
    splits = cut(name, train, test, config)
    return splits, describe(ORIGINS[name], splits, files, config.split_seed), files, ", ".join(mirrors)


def own_data(config: Ingest, own: Own) -> Ingested:
    """The data of datasets/NAME.yaml.

    Raises:
        UserError: the source is not what the file describes.
    """
    source = Path(own.path)
    found = source_sha256(source) if source.exists() else "missing"
    if found != own.sha256:
        raise UserError(
            f"{source} is {found[:12]}, but datasets/{own.name}.yaml describes {own.sha256[:12]}. To see what has "
            f"changed: deepdigits dataset check {own.name}"
        )
    data = read_source(source, own.kind, own.ink, own.split.group, own.without)
    if len(data.classes) != len(own.classes):
        raise UserError(
            f"{source} has {len(data.classes)} classes, but datasets/{own.name}.yaml names {len(own.classes)}."
        )
    rows = rows_of(data, own.split)
    splits = {name: bright(data.take(part), own.ink) for name, part in rows.items()}
    if config.subset:
        splits = {name: subset(one, getattr(config.subset, name), own.split.seed) for name, one in splits.items()}
    listing = {"files.json": json.dumps({"path": source.name, "sha256": found}, indent=2).encode() + b"\n"}
    origin = Origin(own.name, own.title, own.source, own.classes)
    manifest = describe(origin, splits, listing, own.split.seed) | {
        "input": input_of(own.kind, own.ink),
        "glyphs": own.glyphs,
    }
    if data.groups is not None:
        for name, part in rows.items():
            manifest["splits"][name]["groups"] = sorted(set(data.groups[part].tolist()))
    return splits, manifest, listing, source.name


def get_images(config: Ingest) -> tuple[str, Split, Split, dict[str, bytes], list[str]]:
    """Get MNIST from the first mirror that has it, or fall back to the bundled digits if params.yaml allows it.

    The fallback applies only if no mirror can be reached.

    Returns:
        The dataset's name, its training and test images, the raw files, and where they came from, without secrets.

    Raises:
        UserError: the mirror in `MNIST_MIRROR` has no good files, or no mirror has and params.yaml allows no fallback.
    """
    own = own_mirror(os.environ.get("MNIST_MIRROR", ""))
    downloader = Downloader(paths.DOWNLOADS, config.timeout_seconds, config.retries)
    try:
        fetched = fetch_all(config.mirrors, downloader, own=own)
    except Unreachable as error:
        if own:  # a user who names a mirror wants its data, never the fallback's
            raise UserError(f"{error}\nCheck MNIST_MIRROR and the network, or unset it.") from None
        if config.offline_fallback is None:
            raise UserError(f"{error}\nSet MNIST_MIRROR, or ingest.offline_fallback: digits in params.yaml.") from None
        warn_of_fallback(str(error))
        train, test = digits_splits()
        return "digits", train, test, raw_bytes(train, test), ["scikit-learn"]
    files = {file_name: item.data for file_name, item in fetched.items()}
    return "mnist", *mnist_splits(files), files, sorted({masked(item.mirror) for item in fetched.values()})


def cut(name: str, train: Split, test: Split, config: Ingest) -> dict[str, Split]:
    """Split validation off train, and keep the number of images that `ingest.subset` requests."""
    rest, chosen = stratified_rows(train.labels, config.validation_images[name], config.split_seed)
    splits = {"train": train.take(rest), "validation": train.take(chosen), "test": test}
    if config.subset is None:
        return splits
    return {key: subset(split, getattr(config.subset, key), config.split_seed) for key, split in splits.items()}


def warn_of_fallback(reason: str) -> None:
    console.print(
        Panel(
            f"{reason}\n\nFalling back to scikit-learn's 1,797 bundled digits, 8x8 images enlarged to 28x28. "
            "This is not MNIST: every run, report and registered model of this pipeline is labelled 'digits'.\n"
            "Once the network is back, run: dvc repro --force ingest, then dvc repro.",
            title="OFFLINE: the dataset is 'digits', not MNIST",
            border_style="yellow",
        ),
        markup=False,
    )


if __name__ == "__main__":
    main()
