"""Prepares one file: for a data set, and in the same way for the models that were trained on it."""

from __future__ import annotations

from typing import Literal

import numpy as np

from deepdigits.data.own.decoding import Ink, decode
from deepdigits.data.own.recordings import picture_of_sound

# What a model's files are. It stands in the manifest and in the model's ONNX file.
Input = Literal["bright pictures", "dark pictures", "recordings"]


def input_of(kind: str, ink: Ink) -> Input:
    """What the files of a data set are. Arrays (`idx` and `npz`) are pictures, too."""
    if kind == "recordings":
        return "recordings"
    return "dark pictures" if ink == "dark" else "bright pictures"


def prepare(data: bytes, given: Input, formats: tuple[str, ...] | None = None) -> np.ndarray:
    """The network's view of one picture or recording, uint8 `(28, 28)`, bright on dark.

    Args:
        formats: the only formats of pictures to accept, by Pillow's names; None accepts them all.

    Raises:
        Undecodable: it cannot be used; the message says why.
    """
    if given == "recordings":
        return picture_of_sound(data)
    if given == "dark pictures":
        return 255 - decode(data, "dark", formats)
    return decode(data, "bright", formats)
