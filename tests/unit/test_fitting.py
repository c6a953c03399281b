"""Training the detector and the segmenter: killed and resumed, it ends with the same weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pytorch_lightning.callbacks import Callback

from deepdigits.data.digits.splits import Split
from deepdigits.data.scenes.scenes import Scenes, compose, detection_targets
from deepdigits.tasks.catalogue import TASKS
from deepdigits.tasks.detector import network as detector
from deepdigits.tasks.detector.config import DetectorNet
from deepdigits.tasks.segmenter import network as segmenter
from deepdigits.tasks.segmenter.config import SegmenterNet
from deepdigits.training.config import CycleFit
from deepdigits.training.fitting import fit_to_loss
from deepdigits.training.supervised import SupervisedTraining
from deepdigits.training.trainer import Fitted
from deepdigits.training.weights import part_of, save_network
from tests.unit.test_scenes import LOOK
from tests.unit.test_training import KillAt, KilledError, equal

FIT = CycleFit(
    epochs=2, steps_per_epoch=8, batch_size=8, max_learning_rate=0.01, weight_decay=0.01, gradient_clip=1.0, seed=3
)
NETS = {
    "detector": DetectorNet(widths=(8, 16, 16), max_detections=10, nms_iou=0.5),
    "segmenter": SegmenterNet(widths=(8, 16, 16)),
}


@pytest.fixture(scope="module")
def scenes(digits: tuple[Split, Split]) -> tuple[Scenes, Scenes]:
    return compose(digits[0], 64, LOOK, [1]), compose(digits[0], 16, LOOK, [2])


def train(kind: str, scenes: tuple[Scenes, Scenes], directory: Path, *extra: Callback) -> Fitted:
    torch.manual_seed(FIT.seed)
    if kind == "detector":
        module = SupervisedTraining(detector.Detector(NETS[kind]), detector.losses, FIT)
        pairs = [(one.images, detection_targets(one)) for one in scenes]
    else:
        module = SupervisedTraining(segmenter.Segmenter(NETS[kind]), segmenter.losses, FIT)
        pairs = [(one.images, one.semantic) for one in scenes]
    return fit_to_loss(module, pairs[0], pairs[1], FIT, directory, lambda *_: None, extra)


@pytest.fixture(scope="module")
def uninterrupted(scenes: tuple[Scenes, Scenes], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Fitted]:
    return {kind: train(kind, scenes, tmp_path_factory.mktemp(kind)) for kind in NETS}


@pytest.mark.parametrize("step", [3, 12])
@pytest.mark.parametrize("kind", NETS)
def test_a_killed_training_resumes_to_the_same_weights(
    kind: str, step: int, uninterrupted: dict[str, Fitted], scenes: tuple[Scenes, Scenes], tmp_path: Path
) -> None:
    with pytest.raises(KilledError):
        train(kind, scenes, tmp_path, KillAt(step))
    resumed = train(kind, scenes, tmp_path)
    assert equal(uninterrupted[kind].state, resumed.state)
    assert uninterrupted[kind].history == resumed.history


@pytest.mark.parametrize("kind", NETS)
def test_a_saved_network_loads_with_the_same_weights(
    kind: str, uninterrupted: dict[str, Fitted], tmp_path: Path
) -> None:
    weights = part_of(uninterrupted[kind].state, "net.")
    save_network(kind, NETS[kind], weights, tmp_path / "model.safetensors")
    assert equal(dict(TASKS[kind].load(tmp_path / "model.safetensors").state_dict()), weights)
