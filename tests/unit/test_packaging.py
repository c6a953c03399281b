import hashlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepdigits.core.errors import UserError
from deepdigits.data.digits.splits import Split
from deepdigits.export.onnx import Exported, Golden, check_onnx, export_onnx, golden_examples
from deepdigits.release.cards import model_card
from deepdigits.release.config import ClassifierFloor, Floors
from deepdigits.release.datasets import read_dataset
from deepdigits.release.floors import check_floors, missed_floors
from deepdigits.tasks.catalogue import TASKS
from deepdigits.tasks.classification.task import ExportedClassifier
from deepdigits.tasks.cnn.config import CnnNet
from deepdigits.tasks.cnn.network import Cnn
from deepdigits.tasks.cnn.task import ExportedCnn
from deepdigits.tasks.detector.config import DetectorNet
from deepdigits.tasks.detector.network import Detector
from deepdigits.tasks.detector.task import ExportedDetector
from deepdigits.tasks.fakes.config import FakesNet
from deepdigits.tasks.fakes.network import FakesDetector
from deepdigits.tasks.fakes.task import ExportedFakesDetector
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

GATES = read_dataset(ROOT, "mnist").floors
# Every model only just passes: each measure equals its floor.
GOOD = {
    f"{name}.{measure}": getattr(getattr(GATES, name), floor)
    for name, task in TASKS.items()
    for floor, (measure, _) in task.rules.items()
    if getattr(getattr(GATES, name), floor) is not None
}


def gates_of(values: Mapping[str, object]) -> list[dict[str, Any]]:
    """The floors of all tasks, checked against values named `MODEL.MEASURE`."""
    return [
        gate
        for name, task in TASKS.items()
        for gate in check_floors(task, {k.removeprefix(f"{name}."): v for k, v in values.items()}, GATES)
    ]


def exported(kind: str) -> Exported:
    torch.manual_seed(0)
    if kind == "gan":
        return ExportedGenerator(
            Generator(GanNet(noise_dim=8, generator_widths=(8, 4), discriminator_widths=(4,) * 4)).eval()
        )
    if kind == "detector":
        return ExportedDetector(Detector(DetectorNet(widths=(8, 8, 8), max_detections=12, nms_iou=0.5)).eval())
    if kind == "segmenter":
        return ExportedSegmenter(Segmenter(SegmenterNet(widths=(8, 8, 8))).eval())
    if kind == "swap":
        gan = GanNet(noise_dim=4, generator_widths=(8, 4), discriminator_widths=(4,) * 4)
        return ExportedSwapper(Swapper(SwapNet(gan=gan, levels=5, encoder_widths=(4, 4, 4))).eval())
    if kind == "fakes":
        return ExportedFakesDetector(FakesDetector(FakesNet(widths=(4, 4, 4, 8))).eval())
    if kind == "cnn":
        return ExportedCnn(Cnn(CnnNet(widths=(4, 4, 4, 8, 8))).eval())
    return ExportedClassifier(
        make_rnn(RnnNet(cell=kind, hidden=8, layers=2, bidirectional=kind != "s4d", dropout=0.1)).eval()  # type: ignore[arg-type]
    )


def inputs(kind: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    if kind == "gan":
        return {"noise": rng.standard_normal((5, 8), np.float32), "digit": np.arange(5)}
    size = 84 if kind in ("detector", "segmenter") else 28
    images = {"images": rng.integers(0, 256, (5, size, size)).astype(np.uint8)}
    return {**images, "digit": np.arange(5)} if kind == "swap" else images


@pytest.mark.parametrize("kind", ["cnn", "gru", "lstm", "s4d", "gan", "detector", "segmenter", "swap", "fakes"])
def test_the_onnx_file_matches_pytorch_and_contains_no_path(kind: str) -> None:
    module = exported(kind)
    golden = golden_examples(module, inputs(kind))
    data = export_onnx(module, golden.inputs)
    tolerance = 1e-4 if kind == "detector" else 1e-5  # its boxes are in pixels
    assert check_onnx(data, golden, tolerance, kind) <= tolerance
    for trace in (b"/deepdigits", b".py", b"stack_trace", b"pkg.torch"):
        assert trace not in data


def test_equal_networks_give_equal_onnx_bytes_in_another_process_and_folder(tmp_path: Path) -> None:
    here = hashlib.sha256(export_onnx(exported("cnn"), inputs("cnn"))).hexdigest()
    script = (
        "import hashlib; from tests.unit.test_packaging import *; "
        "print(hashlib.sha256(export_onnx(exported('cnn'), inputs('cnn'))).hexdigest())"
    )
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-1] == here


def test_an_onnx_file_of_other_weights_is_refused() -> None:
    golden = golden_examples(exported("cnn"), inputs("cnn"))
    other = exported("cnn")
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    with pytest.raises(UserError, match="cnn: the ONNX file differs from PyTorch by .*onnx_tolerance"):
        check_onnx(export_onnx(other, golden.inputs), golden, 1e-4, "cnn")
    wrong = Golden(golden.inputs, {**golden.outputs, "label": golden.outputs["label"].astype(np.int32)})
    with pytest.raises(UserError, match="int64"):
        check_onnx(export_onnx(exported("cnn"), golden.inputs), wrong, 1e-4, "cnn")


def test_good_models_pass_every_floor() -> None:
    checked = gates_of(GOOD)
    assert all(gate["passed"] for gate in checked)
    assert len(checked) == len(GOOD)


@pytest.mark.parametrize("key", GOOD)
@pytest.mark.parametrize("value", [None, float("nan"), "high", "bad"])
def test_each_floor_refuses_a_bad_missing_or_broken_metric(key: str, value: object) -> None:
    model, _, metric = key.partition(".")
    sign = next(sign for name, sign in TASKS[model].rules.values() if name == metric)
    bad = {**GOOD, key: -sign * 1e3 if value == "bad" else value}
    failed = [gate for gate in gates_of(bad) if not gate["passed"]]
    assert [(gate["model"], gate["metric"]) for gate in failed] == [(model, metric)]


def test_floors_that_are_not_declared_are_not_checked() -> None:
    task, measures = TASKS["cnn"], {"roc_auc": 0.5}
    assert check_floors(task, measures, Floors()) == []
    (gate,) = check_floors(task, measures, Floors(cnn=ClassifierFloor(min_roc_auc=0.9)))
    assert (gate["metric"], gate["passed"]) == ("roc_auc", False)


def test_every_floor_that_a_model_misses_is_named() -> None:
    bad = {**GOOD, "gan.coverage": 0.0, "gan.novelty": None}
    missed = missed_floors(gates_of(bad))
    assert [text.split(" is ")[0] for text in missed] == ["coverage", "novelty"]
    assert missed_floors(gates_of(GOOD)) == []


def test_a_card_needs_every_figure_it_shows(digits: tuple[Split, Split]) -> None:
    manifest = {"name": "digits", "title": "Digits", "source": "UCI", "sha256": "0", "splits": {"train": {"count": 9}}}
    with pytest.raises(KeyError, match=r"test\.accuracy"):
        model_card(TASKS["cnn"], manifest, {"config": {}}, {}, [])
