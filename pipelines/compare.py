"""Stage `compare`: where the two classifiers differ on the test images, and which labels both contradict."""

from __future__ import annotations

import shutil

from deepdigits.core import paths
from deepdigits.core.compute import use_threads
from deepdigits.core.files import read_json, write_json
from deepdigits.core.loading import read_params
from deepdigits.core.measures import measures_of, weights_file
from deepdigits.core.sections import StageParams
from deepdigits.data.digits.manifest import validated_manifest
from deepdigits.data.digits.splits import load_split
from deepdigits.ops.exit import exits_cleanly
from deepdigits.ops.lineage import stage_lineage
from deepdigits.ops.tracking import DatasetIdentity, stage_run
from deepdigits.tasks.classification.comparison import (
    compare,
    save_contradicted,
    save_corruptions,
    save_robustness_of_all,
    save_selective,
)
from deepdigits.tasks.classification.inference import probabilities
from deepdigits.tasks.cnn.network import load_cnn
from deepdigits.tasks.config import Evaluate
from deepdigits.tasks.rnn.network import load_rnn

LOAD = {"cnn": load_cnn, "rnn": load_rnn}


class Parameters(StageParams):
    evaluate: Evaluate


@exits_cleanly
def main() -> None:
    params = read_params(Parameters)
    use_threads(params.compute.threads)
    manifest = validated_manifest(paths.MANIFEST, paths.VERDICT)
    test, figures = load_split(paths.split_file("test")), paths.figures_of("compare")
    shutil.rmtree(figures, ignore_errors=True)
    answers = {name: probabilities(load(weights_file(name)), test.images) for name, load in LOAD.items()}
    measures = {name: measures_of(name, read_json(paths.evaluation_file(name))) for name in LOAD}
    found = compare(answers["cnn"], answers["rnn"], test.labels)
    save_contradicted(answers, test, manifest["classes"], params.evaluate.disputed_confidence, figures)
    save_corruptions(test, params.evaluate.seed, figures)
    save_robustness_of_all(measures, figures)
    save_selective(answers, test, figures)
    write_json(paths.COMPARISON, {f"mcnemar.{key}": value for key, value in found.items()})

    with stage_run(
        stage_lineage("compare", params.profile), DatasetIdentity.of(manifest), "compare", {}, "test"
    ) as run:
        run.metrics({f"mcnemar/{key}": float(value) for key, value in found.items()})
        run.file(figures, "figures")
        run.description(
            f"CNN vs. RNN on the test images of {manifest['title']}: only the CNN is right on "
            f"{found['only_cnn_right']}, only the RNN on {found['only_rnn_right']} "
            f"(exact McNemar test, p = {found['p_value']:.3g})."
        )


if __name__ == "__main__":
    main()
