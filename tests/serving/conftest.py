"""A server of small networks, trained on nothing: what it answers is known from the files themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from deepdigits.config.classifiers import CnnNet, RnnNet
from deepdigits.config.detector import DetectorNet
from deepdigits.config.gan import GanNet
from deepdigits.config.segmenter import SegmenterNet
from deepdigits.config.swap import SwapNet
from deepdigits.files import write_bytes
from deepdigits.models.cnn import Cnn
from deepdigits.models.detector import Detector
from deepdigits.models.gan import Generator
from deepdigits.models.rnn import make_rnn
from deepdigits.models.segmenter import Segmenter
from deepdigits.models.swap import Swapper
from deepdigits.packaging import Exported, export_onnx
from deepdigits.serving.app import create_app
from deepdigits.serving.champions import ChampionWatch, Served, open_network
from deepdigits.serving.fast_path import FastPath
from deepdigits.tasks.classifiers import ExportedClassifier, ExportedCnn
from deepdigits.tasks.detector import ExportedDetector
from deepdigits.tasks.gan import ExportedGenerator
from deepdigits.tasks.segmenter import ExportedSegmenter
from deepdigits.tasks.swap import ExportedSwapper

IMAGES = {"images": np.zeros((2, 28, 28), np.uint8)}
SCENES = {"images": np.zeros((2, 84, 84), np.uint8)}
INPUTS = {
    "gan": {"noise": np.zeros((2, 8), np.float32), "digit": np.arange(2)},
    "detector": SCENES,
    "segmenter": SCENES,
    "swap": {**IMAGES, "digit": np.arange(2)},
}


class StillWatch(ChampionWatch):
    """Serves what it was given."""

    def refresh(self) -> None:
        pass


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Served]:
    torch.manual_seed(0)
    folder: Path = tmp_path_factory.mktemp("models")
    rnn = RnnNet(cell="gru", hidden=8, layers=1, bidirectional=True, dropout=0.0)
    gan = GanNet(noise_dim=8, generator_widths=(8, 4), discriminator_widths=(4,) * 4)
    modules: dict[str, Exported] = {
        "cnn": ExportedCnn(Cnn(CnnNet(widths=(4, 4, 4, 8, 8))).eval()),
        "rnn": ExportedClassifier(make_rnn(rnn).eval()),
        "gan": ExportedGenerator(Generator(gan).eval()),
        "detector": ExportedDetector(Detector(DetectorNet(widths=(4, 8, 8, 8), most=12, nms_iou=0.5)).eval()),
        "segmenter": ExportedSegmenter(Segmenter(SegmenterNet(widths=(4, 8, 8, 8))).eval()),
        "swap": ExportedSwapper(Swapper(SwapNet(gan=gan, levels=5, encoder_widths=(4, 4, 4))).eval()),
    }
    found = {}
    for kind, module in modules.items():
        path = folder / f"{kind}.onnx"
        write_bytes(path, export_onnx(module, INPUTS.get(kind, IMAGES)))
        found[kind] = Served(
            f"mnist-{kind}", kind, 3, {"git.commit": "c" * 40}, {"test/accuracy": 0.1}, open_network(kind, path, 1)
        )
    return found


@pytest.fixture(scope="session")
def app(served: dict[str, Served]) -> FastPath:
    watch = StillWatch("mnist", 1)
    watch.current = served
    watch.aliases = {f"mnist-{kind}": {"champion": 3, "candidate": 4} for kind in served}
    return create_app(watch, 60)


@pytest.fixture
def client(app: FastPath) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client
