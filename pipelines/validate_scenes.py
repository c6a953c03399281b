"""Stage `validate_scenes`: validate the scenes against their expectations, and block training unless all are met."""

from __future__ import annotations

import shutil
from typing import Annotated

from pydantic import Field

from deepdigits.core import paths
from deepdigits.core.errors import UserError
from deepdigits.core.files import read_json, write_json, write_text
from deepdigits.core.loading import read_params
from deepdigits.core.sections import StageParams
from deepdigits.data.config import Validate
from deepdigits.data.digits.splits import load_split
from deepdigits.data.scenes.config import Compose
from deepdigits.data.scenes.manifest import ORIGINS
from deepdigits.data.scenes.scenes import Scenes, load_scenes
from deepdigits.data.validation.expectations import Verdict, check
from deepdigits.data.validation.scene_expectations import ROW_NAMES, scene_expectations
from deepdigits.data.validation.scene_frame import digit_frame, scene_frame, scene_split_frame
from deepdigits.data.validation.verdict import failure_message, index_page, verdict_summary
from deepdigits.ops.exit import exits_cleanly
from deepdigits.ops.lineage import stage_lineage
from deepdigits.ops.tracking import DatasetIdentity, stage_run
from deepdigits.plotting.figures import save_captioned


class Parameters(StageParams):
    compose: Compose
    validate_: Annotated[Validate, Field(alias="validate")]


@exits_cleanly
def main() -> None:
    params = read_params(Parameters)
    manifest = read_json(paths.SCENE_MANIFEST)
    classes = len(manifest["classes"])
    config, examples = params.compose, params.validate_.example_count
    lineage = stage_lineage("validate_scenes", params.profile)
    with stage_run(lineage, DatasetIdentity.of(manifest), "validate_scenes", {}, "validation") as run:
        scenes = {name: load_scenes(paths.scene_file(name)) for name in ORIGINS}
        splits = {name: load_split(paths.split_file(name)) for name in set(ORIGINS.values())}
        origins = {name: splits[origin] for name, origin in ORIGINS.items()}
        styles = {name: config.stress if name == "stress" else config.style for name in ORIGINS}
        frames = {
            "digits": digit_frame(scenes, origins, styles),
            "scenes": scene_frame(scenes, styles),
            "scene_splits": scene_split_frame(scenes, origins, config.scenes.model_dump(), classes),
        }
        verdict = check(frames, scene_expectations(classes), ROW_NAMES, examples)
        write_docs(verdict, scenes, manifest["title"])
        run.file(paths.SCENE_DOCS)
        run.metrics({"expectations": float(len(verdict.outcomes)), "failed": float(len(verdict.failed))})
        run.description(f"Validation of {manifest['title']}: {'passed' if verdict.success else 'FAILED'}.")
        write_json(paths.SCENE_VERDICT, verdict_summary(verdict, manifest))
        if not verdict.success:
            raise UserError(failure_message(verdict, paths.SCENE_DOCS, "dvc repro --force compose"))


def write_docs(verdict: Verdict, scenes: dict[str, Scenes], title: str) -> None:
    """Write the Data Docs, whether validation passed or failed, with the scenes behind each failure."""
    shutil.rmtree(paths.SCENE_DOCS, ignore_errors=True)
    for name, page in verdict.pages.items():
        write_text(paths.SCENE_DOCS / f"{name}.html", page)
    pictures = {}
    for number, outcome in enumerate(verdict.failed, start=1):
        named = [str(value).split("/") for row in outcome.rows for key, value in row.items() if key != "split"]
        if named:
            pictures[outcome.name] = f"failure_{number}.png"
            shown = [255 - scenes[split].images[int(row)] for split, row, *_ in named]
            captions = ["/".join(parts) for parts in named]
            save_captioned(shown, captions, paths.SCENE_DOCS / pictures[outcome.name], outcome.name)
    write_text(paths.SCENE_DOCS / "index.html", index_page(verdict, pictures, title))


if __name__ == "__main__":
    main()
