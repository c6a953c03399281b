"""Stage `validate`: validate the data against their expectations, and block training unless all are met."""

from __future__ import annotations

import shutil
from typing import Annotated

from pydantic import Field

from deepdigits.core import paths
from deepdigits.core.errors import UserError
from deepdigits.core.files import read_json, write_json, write_text
from deepdigits.core.loading import read_params
from deepdigits.core.sections import StageParams
from deepdigits.data.config import Ingest, Validate
from deepdigits.data.described import Expected, described
from deepdigits.data.digits.splits import SPLITS, Split, load_split
from deepdigits.data.validation.expectations import FRAMES, ROW_NAMES, Verdict, check, expectations, group_expectations
from deepdigits.data.validation.frame import class_frame, group_frame, image_frame, split_frame
from deepdigits.data.validation.neighbours import label_disagreement
from deepdigits.data.validation.verdict import (
    example_rows,
    expected_counts,
    failure_message,
    index_page,
    verdict_summary,
)
from deepdigits.ops.exit import exits_cleanly
from deepdigits.ops.lineage import stage_lineage
from deepdigits.ops.tracking import DatasetIdentity, stage_run
from deepdigits.plotting.figures import save_captioned


class Parameters(StageParams):
    ingest: Ingest
    validate_: Annotated[Validate, Field(alias="validate")]


@exits_cleanly
def main() -> None:
    params = read_params(Parameters)
    manifest = read_json(paths.MANIFEST)
    expected = described(Expected, manifest["name"])
    config = params.validate_
    lineage = stage_lineage("validate", params.profile)
    with stage_run(lineage, DatasetIdentity.of(manifest), "validate", {}, "validation") as run:
        splits = {name: load_split(paths.split_file(name)) for name in SPLITS}
        images = image_frame(splits)
        counts = expected_counts(expected.images, params.ingest.subset)
        of_splits = split_frame(images, counts, label_disagreement(splits))
        frames = dict(zip(FRAMES, (images, of_splits, class_frame(splits, len(manifest["classes"]))), strict=True))
        suites = expectations(expected.bands, config.max_off_center_fraction, manifest["classes"])
        if groups := {name: one["groups"] for name, one in manifest["splits"].items() if "groups" in one}:
            frames["groups"], suites["groups"] = group_frame(groups), group_expectations()
        verdict = check(frames, suites, ROW_NAMES, config.example_count)

        write_docs(verdict, splits, config.example_count, manifest["title"])
        run.file(paths.DATA_DOCS)
        run.metrics({"expectations": float(len(verdict.outcomes)), "failed": float(len(verdict.failed))})
        run.description(f"Data validation of {manifest['title']}: {'passed' if verdict.success else 'FAILED'}.")
        write_json(paths.VERDICT, verdict_summary(verdict, manifest))
        if not verdict.success:
            raise UserError(
                failure_message(verdict, paths.DATA_DOCS, "dvc repro --force ingest")
                + f" If the data are right, widen the bands in datasets/{manifest['name']}.yaml."
            )


def write_docs(verdict: Verdict, splits: dict[str, Split], example_count: int, title: str) -> None:
    """Write the Data Docs, whether validation passed or failed, with the images behind each failure."""
    shutil.rmtree(paths.DATA_DOCS, ignore_errors=True)
    for name, page in verdict.pages.items():
        write_text(paths.DATA_DOCS / f"{name}.html", page)
    pictures = {}
    for number, outcome in enumerate(verdict.failed, start=1):
        rows = example_rows(outcome, splits, example_count)
        if rows:
            pictures[outcome.name] = f"failure_{number}.png"
            pixels = [splits[split].images[index] for split, index in rows]
            captions = [f"{split}/{index}: {splits[split].labels[index]}" for split, index in rows]
            save_captioned(pixels, captions, paths.DATA_DOCS / pictures[outcome.name], outcome.name)
    write_text(paths.DATA_DOCS / "index.html", index_page(verdict, pictures, title))


if __name__ == "__main__":
    main()
