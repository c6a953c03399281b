"""Stage `ingest`: fetch and verify the four MNIST files, then write the splits and their manifest."""

from __future__ import annotations

import os

from rich.console import Console
from rich.panel import Panel

from deepdigits.core import paths
from deepdigits.core.addresses import masked
from deepdigits.core.errors import UserError
from deepdigits.core.files import write_bytes, write_json
from deepdigits.core.loading import read_params
from deepdigits.core.sections import StageParams
from deepdigits.data.config import DatasetName, Ingest
from deepdigits.data.digits.manifest import describe
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
from deepdigits.ops.exit import exits_cleanly
from deepdigits.ops.lineage import stage_lineage
from deepdigits.ops.tracking import DatasetIdentity, stage_run

console = Console(stderr=True, highlight=False)


class Parameters(StageParams):
    ingest: Ingest


@exits_cleanly
def main() -> None:
    params = read_params(Parameters)
    name, train, test, files, mirrors = get_images(params.ingest)
    splits = cut(name, train, test, params.ingest)
    manifest = describe(ORIGINS[name], splits, files, params.ingest.split_seed)

    for file_name, data in files.items():
        write_bytes(paths.RAW / file_name, data)
    for split_name, split in splits.items():
        save_split(split, paths.split_file(split_name))
    write_json(paths.MANIFEST, manifest)  # last: if the manifest exists, everything else does too

    lineage = stage_lineage("ingest", params.profile)
    with stage_run(lineage, DatasetIdentity.of(manifest), "ingest", {"mirrors": ", ".join(mirrors)}, "ingest") as run:
        used = params.ingest.model_dump()
        run.params({"ingest": used | {"mirrors": [masked(mirror) for mirror in params.ingest.mirrors]}})
        run.metrics({f"{split_name}/images": float(len(split)) for split_name, split in splits.items()})
        run.file(paths.MANIFEST)
        run.description(f"{manifest['title']}, split into train, validation and test.")
    console.print(f"{name}: " + ", ".join(f"{len(split):,} {split_name}" for split_name, split in splits.items()))


def get_images(config: Ingest) -> tuple[DatasetName, Split, Split, dict[str, bytes], list[str]]:
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


def cut(name: DatasetName, train: Split, test: Split, config: Ingest) -> dict[str, Split]:
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
