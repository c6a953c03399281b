"""A server of small, untrained networks. The expected answers come from the ONNX files themselves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from deepdigits.core.files import write_bytes
from deepdigits.export.onnx import Exported, export_onnx
from deepdigits.serving.app import create_app
from deepdigits.serving.champions import KINDS, Served
from deepdigits.serving.limits import LOCAL
from deepdigits.tasks.classification.task import ExportedClassifier
from deepdigits.tasks.cnn.config import CnnNet
from deepdigits.tasks.cnn.network import Cnn
from deepdigits.tasks.cnn.task import ExportedCnn
from deepdigits.tasks.detector.config import DetectorNet
from deepdigits.tasks.detector.network import Detector
from deepdigits.tasks.detector.task import ExportedDetector
from deepdigits.tasks.gan.config import GanNet
from deepdigits.tasks.gan.network import Generator
from deepdigits.tasks.gan.task import ExportedGenerator
from deepdigits.tasks.rnn.config import RnnNet
from deepdigits.tasks.rnn.network import make_rnn
from deepdigits.tasks.segmenter.config import SegmenterNet
from deepdigits.tasks.segmenter.network import Segmenter
from deepdigits.tasks.segmenter.task import ExportedSegmenter
from deepdigits.tasks.swap.config import SwapNet
from deepdigits.tasks.swap.network import Swapper
from deepdigits.tasks.swap.task import ExportedSwapper
from tests.conftest import ROOT
from tests.pipeline.servers import free_port, wait_for
from tests.serving.live import FixedWatch, served_from

IMAGES = {"images": np.zeros((2, 28, 28), np.uint8)}
SCENES = {"images": np.zeros((2, 84, 84), np.uint8)}
INPUTS = {
    "gan": {"noise": np.zeros((2, 8), np.float32), "digit": np.arange(2)},
    "detector": SCENES,
    "segmenter": SCENES,
    "swap": {**IMAGES, "digit": np.arange(2)},
}


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one ONNX file per kind."""
    torch.manual_seed(0)
    folder: Path = tmp_path_factory.mktemp("models")
    rnn = RnnNet(cell="gru", hidden=8, layers=1, bidirectional=True, dropout=0.0)
    gan = GanNet(noise_dim=8, generator_widths=(8, 4), discriminator_widths=(4,) * 4)
    modules: dict[str, Exported] = {
        "cnn": ExportedCnn(Cnn(CnnNet(widths=(4, 4, 4, 8, 8))).eval()),
        "rnn": ExportedClassifier(make_rnn(rnn).eval()),
        "gan": ExportedGenerator(Generator(gan).eval()),
        "detector": ExportedDetector(Detector(DetectorNet(widths=(8, 8, 8), max_detections=12, nms_iou=0.5)).eval()),
        "segmenter": ExportedSegmenter(Segmenter(SegmenterNet(widths=(8, 8, 8))).eval()),
        "swap": ExportedSwapper(Swapper(SwapNet(gan=gan, levels=5, encoder_widths=(4, 4, 4))).eval()),
    }
    for kind, module in modules.items():
        write_bytes(folder / f"{kind}.onnx", export_onnx(module, INPUTS.get(kind, IMAGES)))
    return folder


@pytest.fixture(scope="session")
def served(networks: Path) -> dict[str, Served]:
    by_kind = served_from(networks)
    return {kind: by_kind[kind] for kind in KINDS}


@pytest.fixture(scope="module")
def live(networks: Path) -> Iterator[tuple[psutil.Process, int]]:
    """A server in a process of its own, and its port."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.serving.live", str(networks), str(port)], cwd=ROOT)
    try:
        wait_for(f"http://127.0.0.1:{port}/healthz", process)
        yield psutil.Process(process.pid), port
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def app(served: dict[str, Served]) -> ASGIApp:
    watch = FixedWatch("mnist", 1)
    watch.current = served
    watch.aliases = {f"mnist-{kind}": {"champion": 3, "candidate": 4} for kind in served}
    return create_app(watch, 60, [*LOCAL, "testserver"])


@pytest.fixture
def client(app: ASGIApp) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client
