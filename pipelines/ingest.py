"""Stage `ingest`: obtain the images of the data set and verify them, then write the splits and their manifest."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.panel import Panel

from deepdigits.core import paths
from deepdigits.core.errors import UserError
from deepdigits.core.files import write_bytes, write_json
from deepdigits.core.loading import read_params
from deepdigits.core.sections import StageParams
from deepdigits.data.config import Ingest, Subset
from deepdigits.data.described import FOLDER, DatasetName, Described, described
from deepdigits.data.digits.manifest import Origin, describe
from deepdigits.data.digits.splits import Split, save_split, subset
from deepdigits.data.ingest.obtaining import Obtained, mirror_variable, obtain
from deepdigits.data.ingest.sources import Downloader, Unreachable
from deepdigits.data.own.labelled import bright
from deepdigits.data.own.preparing import input_of
from deepdigits.data.own.splitting import rows_of
from deepdigits.ops.exit import exits_cleanly
from deepdigits.ops.lineage import stage_lineage
from deepdigits.ops.tracking import DatasetIdentity, stage_run

console = Console(stderr=True, highlight=False)


class Parameters(StageParams):
    dataset: DatasetName
    ingest: Ingest


@exits_cleanly
def main() -> None:
    params = read_params(Parameters)
    config = params.ingest
    downloader = Downloader(paths.DOWNLOADS, config.timeout_seconds, config.retries)
    name, facts, obtained = obtain_or_replace(params.dataset, downloader)
    splits, manifest = ingested(name, facts, obtained, config.subset)

    for file_name, data in obtained.raw.items():
        write_bytes(paths.RAW / file_name, data)
    for split_name, split in splits.items():
        save_split(split, paths.split_file(split_name))
    write_json(paths.MANIFEST, manifest)  # last: if the manifest exists, everything else does too

    lineage = stage_lineage("ingest", params.profile)
    tags = {"mirrors": ", ".join(obtained.origins)}
    with stage_run(lineage, DatasetIdentity.of(manifest), "ingest", tags, "ingest") as run:
        run.params({"ingest": config.model_dump(), "split": facts.split.model_dump()})
        run.metrics({f"{split_name}/images": float(len(split)) for split_name, split in splits.items()})
        run.file(paths.MANIFEST)
        run.description(f"{manifest['title']}, split into train, validation and test.")
    console.print(
        f"{manifest['name']}: " + ", ".join(f"{len(split):,} {split_name}" for split_name, split in splits.items())
    )


def obtain_or_replace(name: str, downloader: Downloader) -> tuple[str, Described, Obtained]:
    """A data set's name, description and images; those of the one that replaces it if no address answers.

    Raises:
        UserError: see `obtain`; or no address answers, and nothing replaces the data set.
    """
    facts = described(Described, name)
    try:
        return name, facts, obtain(name, facts, downloader)
    except Unreachable as error:
        if facts.where.offline is None:
            remedy = f"Set {mirror_variable(name)}, or where.offline in {FOLDER}/{name}.yaml."
            raise UserError(f"{error}\n{remedy}") from None
        warn_of_replacement(name, facts.where.offline, str(error))
        instead = described(Described, facts.where.offline)
        return facts.where.offline, instead, obtain(facts.where.offline, instead, downloader)


def ingested(
    name: str, facts: Described, obtained: Obtained, wanted: Subset | None
) -> tuple[dict[str, Split], dict[str, Any]]:
    """The splits, with the number of images that `wanted` requests, and their manifest.

    The manifest names what the server and the stages for scenes must know if it differs from MNIST.
    """
    data, split = obtained.data, facts.split
    rows = rows_of(data, split)
    splits = {part_name: bright(data.take(chosen), facts.ink) for part_name, chosen in rows.items()}
    if wanted:
        splits = {key: subset(one, getattr(wanted, key), split.seed) for key, one in splits.items()}
    origin = Origin(name, facts.title, facts.source, facts.classes)
    manifest = describe(origin, splits, obtained.raw, split.seed)
    if facts.uploads != "centred":
        manifest["input"] = input_of(facts.kind, facts.ink)
    if not facts.glyphs:
        manifest["glyphs"] = False
    if data.groups is not None:
        for part_name, chosen in rows.items():
            manifest["splits"][part_name]["groups"] = sorted(set(data.groups[chosen].tolist()))
    return splits, manifest


def warn_of_replacement(name: str, replacement: str, reason: str) -> None:
    console.print(
        Panel(
            f"{reason}\n\nFalling back to {replacement}, which is not {name}: every run, report and registered model "
            f"of this pipeline is labelled '{replacement}'.\n"
            "Once the network is back, run: dvc repro --force ingest, then dvc repro.",
            title=f"OFFLINE: the dataset is '{replacement}', not {name}",
            border_style="yellow",
        ),
        markup=False,
    )


if __name__ == "__main__":
    main()
