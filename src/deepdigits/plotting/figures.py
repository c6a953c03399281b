"""Images and plots, written without timestamps so that equal data give equal bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axis import Axis, XAxis
from matplotlib.figure import Figure
from PIL import Image

from deepdigits.core.files import write_bytes
from deepdigits.core.pixels import to_bytes

ZOOM = 2
MOST_COUNTED = 30  # classes whose counts are written into a confusion matrix
LONGEST_NAME = 24  # letters of a class name


def save_image_grid(images: np.ndarray, path: Path, columns: int) -> None:
    """Write images side by side, row by row.

    Args:
        images: `(n, 28, 28)`, uint8 0 to 255 or float 0 to 1; 0 is shown as black.
        path: the PNG file to write.
        columns: images per row.
    """
    if images.dtype != np.uint8:
        images = to_bytes(images)
    rows = -(-len(images) // columns)
    sheet = np.full((rows * 30 + 2, columns * 30 + 2), 64, dtype=np.uint8)
    for index, image in enumerate(images):
        top, left = 2 + index // columns * 30, 2 + index % columns * 30
        sheet[top : top + 28, left : left + 28] = image
    buffer = io.BytesIO()
    Image.fromarray(sheet.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)).save(buffer, format="PNG", optimize=True)
    write_bytes(path, buffer.getvalue())


def save_animation(frames: Sequence[Path], path: Path) -> None:
    """Join PNG files into a looping GIF at two frames per second; the last frame is held."""
    first, *rest = [Image.open(io.BytesIO(frame.read_bytes())) for frame in frames]
    buffer = io.BytesIO()
    durations = [500] * len(rest) + [2000]
    first.save(buffer, format="GIF", save_all=True, append_images=rest, duration=durations, loop=0)
    write_bytes(path, buffer.getvalue())


def save_confusion(confusion: np.ndarray, path: Path, title: str, classes: Sequence[str]) -> None:
    """Draw counts `(k, k)`, with actual classes down and predicted classes across. Only errors are coloured.

    With more than `MOST_COUNTED` classes, counts would not be readable and are left out.
    """
    number = len(classes)
    errors = np.where(np.eye(number, dtype=bool), 0, confusion)
    side = max(6.0, 0.42 * number + 1.8) if number <= MOST_COUNTED else 14.0
    figure = Figure(figsize=(side, side - 0.4), layout="constrained")
    axes = figure.subplots()
    axes.imshow(errors, cmap="Reds", vmin=0, vmax=max(1, errors.max() * 1.6))
    for actual, predicted in np.argwhere(confusion) if number <= MOST_COUNTED else ():
        weight = "bold" if actual != predicted else "normal"
        count = str(confusion[actual, predicted])
        axes.text(predicted, actual, count, ha="center", va="center", fontsize=8, fontweight=weight)
    axes.set(xlabel="predicted", ylabel="actual", title=title)
    label_classes(axes.xaxis, classes)
    label_classes(axes.yaxis, classes)
    save_figure(figure, path)


def label_classes(axis: Axis, classes: Sequence[str]) -> None:
    """One tick per class, with its name; long names across are turned."""
    long = isinstance(axis, XAxis) and max(map(len, classes)) > 2
    axis.set_ticks(range(len(classes)), [name[:LONGEST_NAME] for name in classes], rotation=90 if long else 0)
    axis.set_tick_params(labelsize=10 if len(classes) <= MOST_COUNTED else 5)


def save_reliability(bins: Sequence[Mapping[str, float]], path: Path, title: str) -> None:
    """Draw accuracy against confidence, with the number of images per bin below."""
    confidence = [entry["confidence"] for entry in bins]
    figure = Figure(figsize=(5, 5.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    upper.plot([0, 1], [0, 1], color="grey", linestyle="--", label="perfect calibration")
    upper.plot(confidence, [entry["accuracy"] for entry in bins], marker="o", label="measured")
    upper.set(ylabel="accuracy", title=title, xlim=(0, 1.02), ylim=(0, 1.02))
    upper.legend(loc="upper left")
    lower.bar(confidence, [entry["count"] for entry in bins], width=0.03, color="tab:blue")
    lower.set(yscale="log", ylabel="images", xlabel="confidence")
    save_figure(figure, path)


def save_captioned(
    images: Sequence[np.ndarray], captions: Sequence[str], path: Path, title: str, columns: int = 9
) -> None:
    """Draw uint8 images `(28, 28)` with a caption under each. If there are none, the title says so."""
    rows = max(1, -(-len(images) // columns))
    figure = Figure(figsize=(columns * 1.15, rows * 1.45 + 0.5), layout="constrained")
    figure.suptitle(title if len(images) else f"{title}: none")
    for index, axes in enumerate(np.ravel(figure.subplots(rows, columns, squeeze=False))):
        axes.axis("off")
        if index < len(images):
            axes.imshow(images[index], cmap="gray_r", vmin=0, vmax=255)
            axes.set_title(captions[index], fontsize=7, y=-0.28)
    save_figure(figure, path)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG without a timestamp or software version."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    write_bytes(path, buffer.getvalue())
