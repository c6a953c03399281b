"""Runs packaged models in ONNX Runtime. Promotion, verification and serving all use the registered file itself."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnxruntime

from deepdigits.core.arrays import read_arrays
from deepdigits.core.pixels import to_bytes

BATCH = 1000
NETWORK_BATCH = 100
CLASSES = "classes"  # the key under which an ONNX file names its classes, as a JSON list
INPUT = "input"  # the key under which it says what files it is for, if it was trained on own data
WEIGHTS_SHA256 = "weights_sha256"  # the key under which an ONNX file and golden examples name their source weights


def open_session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


class OnnxClassifier:
    """Classifies uint8 images `(n, 28, 28)`, ink 255, in batches."""

    def __init__(self, path: Path, threads: int = 1):
        self.session = open_session(path, threads)
        self.has_features = "features" in {output.name for output in self.session.get_outputs()}

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """float32 `(n, 10)`."""
        return self._run("probabilities", images)

    def features(self, images: np.ndarray) -> np.ndarray:
        """The last hidden layer, float32 `(n, d)`. Only a CNN has it."""
        return self._run("features", images)

    def _run(self, output: str, images: np.ndarray) -> np.ndarray:
        parts = np.array_split(images, max(1, -(-len(images) // BATCH)))
        return np.concatenate([self.session.run([output], {"images": part})[0] for part in parts])


class OnnxGenerator:
    """Generates digits. A seed and a digit always give the same image, whatever else is in the batch."""

    def __init__(self, path: Path, threads: int = 1):
        self.session = open_session(path, threads)
        self.noise_dim = int(self.session.get_inputs()[0].shape[1])

    def draw(self, digits: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """uint8 images `(n, 28, 28)` of digits `(n,)`, 0 to 9, from seeds `(n,)`, 0 or more."""
        noise = np.stack([np.random.default_rng(seed).standard_normal(self.noise_dim, np.float32) for seed in seeds])
        return self.from_noise(noise, digits)

    def draw_many(self, digits: np.ndarray, seed: int) -> np.ndarray:
        """The same for many digits from one seed."""
        noise = np.random.default_rng(seed).standard_normal((len(digits), self.noise_dim), np.float32)
        return self.from_noise(noise, digits)

    def from_noise(self, noise: np.ndarray, digits: np.ndarray) -> np.ndarray:
        rows = np.array_split(np.arange(len(digits)), max(1, -(-len(digits) // BATCH)))
        parts = [self.session.run(["images"], {"noise": noise[part], "digit": digits[part]})[0] for part in rows]
        return to_bytes(np.concatenate(parts))


class OnnxNetwork:
    """Returns outputs by name, in batches."""

    def __init__(self, path: Path, threads: int = 1):
        self.session = open_session(path, threads)
        self.outputs = [output.name for output in self.session.get_outputs()]

    def answer(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All outputs for `inputs`, whose first dimension is the batch."""
        count = len(next(iter(inputs.values())))
        rows = np.array_split(np.arange(count), max(1, -(-count // NETWORK_BATCH)))
        answers = [
            self.session.run(self.outputs, {name: array[part] for name, array in inputs.items()}) for part in rows
        ]
        return {
            name: np.concatenate(column) for name, column in zip(self.outputs, zip(*answers, strict=True), strict=True)
        }


def latencies(sessions: list[onnxruntime.InferenceSession], feeds: list[dict[str, np.ndarray]]) -> list[float]:
    """The median milliseconds per call of each session. Calls alternate, so a slow spell affects all sessions."""
    seconds = np.empty((len(sessions), len(feeds)))
    for column, feed in enumerate(feeds):
        for row, session in enumerate(sessions):
            start = time.perf_counter()
            session.run(None, feed)
            seconds[row, column] = time.perf_counter() - start
    return [float(np.median(row[len(row) // 10 :])) * 1000 for row in seconds]


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """How far outputs are from the expected ones, in arrays of equal shape.

    For floats, the largest absolute difference; a NaN differs from everything by infinity. For integers and booleans,
    the share of elements that differ: where two classes of a pixel are almost equally likely, rounding decides, and it
    differs between runtimes and processors.
    """
    if np.issubdtype(expected.dtype, np.floating):
        with np.errstate(invalid="ignore"):
            absolute = np.abs(found.astype(np.float64) - expected)
        return float(np.where(found == expected, 0, np.nan_to_num(absolute, nan=np.inf)).max())
    return float((found != expected).mean())


def golden_difference(onnx: Path, golden: Path) -> tuple[float, int]:
    """The largest `difference` between an ONNX file's outputs and its golden examples, and the number of examples.

    Raises:
        UserError: the golden examples cannot be read.
    """
    session = open_session(onnx, 1)
    feeds, expected = golden_arrays(golden)
    pairs = zip(session.run(list(expected), feeds), expected.values(), strict=True)
    return max(difference(*pair) for pair in pairs), len(next(iter(feeds.values())))


def golden_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Inputs and outputs from a file of golden examples, keyed by their names in the ONNX file.

    Raises:
        UserError: the file is missing or corrupt.
    """
    arrays = read_arrays(path)
    inputs, outputs = (
        {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        for prefix in ("in_", "out_")
    )
    return inputs, outputs
