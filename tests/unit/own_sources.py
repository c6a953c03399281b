"""Small sources of own data, for tests."""

from __future__ import annotations

import io
import wave
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from deepdigits.data.own.decoding import SUFFIXES, decode
from deepdigits.data.own.labelled import Labelled
from deepdigits.data.own.pictures import read_tree

GREY = np.zeros((40, 20), np.uint8)
GREY[:, :10] = 200


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def save(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def pictures(*names: str) -> dict[str, bytes]:
    """Different pictures under the given names."""
    rng = np.random.default_rng(0)
    return {name: encoded(Image.fromarray(rng.integers(0, 256, (28, 28), np.uint8))) for name in names}


def read(folder: Path) -> Labelled:
    return read_tree(folder, SUFFIXES, lambda data: decode(data, "bright"), "pictures")


def tone(hertz: float, seconds: float = 0.5, rate: int = 8000, silence: float = 0.2) -> np.ndarray:
    time = np.arange(int(seconds * rate)) / rate
    quiet = np.zeros(int(silence * rate))
    return np.concatenate([quiet, 0.5 * np.sin(2 * np.pi * hertz * time), quiet])


def wav(signal: np.ndarray, rate: int = 8000, width: int = 2, channels: int = 1) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        if width == 1:
            file.writeframes((signal * 127 + 128).astype(np.uint8).repeat(channels).tobytes())
        else:
            kind = {2: np.int16, 4: np.int32}[width]
            file.writeframes((signal * np.iinfo(kind).max).astype(kind).repeat(channels).tobytes())
    return buffer.getvalue()


def data(count: int = 60, classes: int = 3, **columns: Any) -> Labelled:
    images = np.random.default_rng(3).integers(0, 256, (count, 28, 28), np.uint8)
    labels = np.arange(count) % classes
    return Labelled(images, labels, [str(n) for n in range(classes)], [f"{n}.png" for n in range(count)], **columns)
