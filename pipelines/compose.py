"""Stage `compose`: compose scenes of several digits, for detection and segmentation, from the images of each split."""

from __future__ import annotations

from deepdigits.core import paths
from deepdigits.core.errors import UserError
from deepdigits.core.files import write_json
from deepdigits.core.loading import read_params
from deepdigits.core.sections import StageParams
from deepdigits.data.digits.manifest import validated_manifest
from deepdigits.data.digits.splits import load_split
from deepdigits.data.scenes.config import Compose
from deepdigits.data.scenes.manifest import ORIGINS, describe_scenes
from deepdigits.data.scenes.scenes import compose, save_scenes
from deepdigits.ops.exit import exits_cleanly
from deepdigits.ops.lineage import stage_lineage
from deepdigits.ops.tracking import DatasetIdentity, stage_run


class Parameters(StageParams):
    compose: Compose


@exits_cleanly
def main() -> None:
    params = read_params(Parameters)
    manifest = validated_manifest(paths.MANIFEST, paths.VERDICT)
    if not manifest.get("glyphs", True):
        raise UserError(
            f"datasets/{manifest['name']}.yaml does not say glyphs: true, so no scenes are composed of these data. If "
            "they are strokes on an empty background, as digits are, add it."
        )
    config = params.compose
    composed = {}
    for number, (name, origin) in enumerate(ORIGINS.items()):
        style = config.stress if name == "stress" else config.style
        split = load_split(paths.split_file(origin))
        composed[name] = compose(split, getattr(config.scenes, name), style, [config.seed, number])
        save_scenes(composed[name], paths.scene_file(name))
    described = describe_scenes(manifest, composed)
    write_json(paths.SCENE_MANIFEST, described)  # last: if the manifest exists, everything else does too

    lineage = stage_lineage("compose", params.profile)
    with stage_run(lineage, DatasetIdentity.of(described), "compose", {}, "compose") as run:
        run.params({"compose": config.model_dump()})
        run.metrics({f"{name}/scenes": float(len(scenes)) for name, scenes in composed.items()})
        run.file(paths.SCENE_MANIFEST)
        run.description(f"{described['title']}: " + ", ".join(f"{len(one):,} {name}" for name, one in composed.items()))


if __name__ == "__main__":
    main()
