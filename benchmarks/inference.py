"""Compares ONNX Runtime with PyTorch eager on the packaged classifiers, and measures the accuracy int8 would cost."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

from benchmarks.common import Row, record, split
from deepdigits.core import paths
from deepdigits.core.compute import use_threads
from deepdigits.export.runtime import open_session
from deepdigits.nn.prediction import to_unit
from deepdigits.ops.exit import exits_cleanly
from deepdigits.tasks.catalogue import TASKS

SINGLE, ROUNDS, BATCH = 2000, 20, 256


@exits_cleanly
def main() -> None:
    use_threads(1)
    test = split("test")
    rows = [row for name in ("cnn", "rnn") for row in compare(name, test.images, test.labels)]
    record("inference", rows)


def compare(name: str, images: np.ndarray, labels: np.ndarray) -> list[Row]:
    network = TASKS[name].load(paths.MODELS / name / "model.safetensors")
    session = open_session(paths.MODELS / name / "model.onnx", threads=1)

    def torch_answer(part: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(network(to_unit(torch.from_numpy(part))).softmax(dim=1).numpy())

    def onnx_answer(part: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(["probabilities"], {"images": part})[0])

    ones = [images[index : index + 1] for index in range(SINGLE)]
    taken_onnx, taken_torch = (
        np.array([timed(answer, part) for part in ones]) for answer in (onnx_answer, torch_answer)
    )
    batches = [images[index * BATCH : (index + 1) * BATCH] for index in range(ROUNDS)]
    rate_onnx, rate_torch = (
        BATCH / float(np.median([timed(answer, part) for part in batches])) for answer in (onnx_answer, torch_answer)
    )
    difference = max(float(np.abs(onnx_answer(part) - torch_answer(part)).max()) for part in batches)
    p50, p99 = (1000 * float(np.quantile(taken_onnx, share)) for share in (0.5, 0.99))
    torch50, torch99 = (1000 * float(np.quantile(taken_torch, share)) for share in (0.5, 0.99))
    lost = accuracy(session, images, labels) - accuracy(quantised(name), images, labels)
    model = name.upper()
    return [
        Row(
            f"{model}, one image, one thread: p50, p99",
            f"{p50:.3f} ms, {p99:.3f} ms (ONNX Runtime)",
            f"{torch50:.3f} ms, {torch99:.3f} ms (PyTorch eager)",
            f"{torch50 / p50:.1f}x",
            "p50 <= 0.3 ms",
            p50 <= 0.3,
        ),
        Row(
            f"{model}, images/s in batches of {BATCH}, one thread",
            f"{rate_onnx:.0f}",
            f"{rate_torch:.0f}",
            f"{rate_onnx / rate_torch:.2f}x",
            "reported",
            True,
        ),
        Row(
            f"{model}, largest difference of probabilities", f"{difference:.1e}", "", "", "<= 1e-5", difference <= 1e-5
        ),
        Row(
            f"{model}, accuracy lost by dynamic int8 (not shipped)",
            f"{100 * lost:.2f} points",
            "",
            "",
            "<= 0.05 points to be offered",
            lost <= 0.0005,
        ),
    ]


def timed(answer: object, part: np.ndarray) -> float:
    start = time.perf_counter()
    answer(part)  # type: ignore[operator]
    return time.perf_counter() - start


def quantised(name: str) -> onnxruntime.InferenceSession:
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / "int8.onnx"
        quantize_dynamic(paths.MODELS / name / "model.onnx", target, weight_type=QuantType.QUInt8)
        return open_session(target, threads=1)


def accuracy(session: onnxruntime.InferenceSession, images: np.ndarray, labels: np.ndarray) -> float:
    answers = [session.run(["label"], {"images": part})[0] for part in np.array_split(images, 10)]
    return float((np.concatenate(answers) == labels).mean())


if __name__ == "__main__":
    main()
