"""Figures of detections and masks in scenes; equal data give byte-identical files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from deepdigits.data.scenes.scenes import Scenes, box_iou
from deepdigits.plotting.figures import save_figure
from deepdigits.tasks.detector.metrics import Detections

HIT, MISS, FALSE_ALARM = "#2fbf71", "#ffb000", "#ff4d4d"
COLOURS = "tab10"


def save_detections(
    scenes: Scenes, found: Detections, threshold: float, rows: Sequence[int], classes: Sequence[str], path: Path
) -> None:
    """Plot scenes with the boxes that score at least `threshold`: digits found, digits missed, false alarms.

    Args:
        classes: the names of the classes.
    """
    columns = 6
    figure = Figure(figsize=(columns * 2.1, -(-len(rows) // columns) * 2.1 + 0.6), layout="constrained")
    for axes, row in zip(_panels(figure, len(rows), columns), rows, strict=True):
        axes.imshow(scenes.images[row], cmap="gray", vmin=0, vmax=255)
        there = scenes.scene == row
        shown = found.scores[row] >= threshold
        overlap = box_iou(scenes.boxes[there], found.boxes[row][shown])
        same = scenes.labels[there][:, None] == found.labels[row][shown][None]
        meets = (overlap >= 0.5) & same
        for box, label in zip(
            scenes.boxes[there][~meets.any(axis=1)], scenes.labels[there][~meets.any(axis=1)], strict=True
        ):
            _draw_box(axes, box, classes[label], MISS)
        boxes, labels = found.boxes[row][shown], found.labels[row][shown]
        for box, label, hit in zip(boxes, labels, meets.any(axis=0), strict=True):
            _draw_box(axes, box, classes[label], HIT if hit else FALSE_ALARM)
    legend = {"found": HIT, "missed": MISS, "false alarm": FALSE_ALARM}
    figure.legend(
        handles=[Patch(color=colour, label=name) for name, colour in legend.items()],
        loc="outside upper center",
        ncols=3,
    )
    save_figure(figure, path)


def save_overlays(scenes: Scenes, found: np.ndarray, rows: Sequence[int], path: Path) -> None:
    """Plot one column per scene: the scene, its true mask, the predicted mask, and the pixels where they differ."""
    figure = Figure(figsize=(len(rows) * 1.7, 7.2), layout="constrained")
    panels = figure.subplots(4, len(rows), squeeze=False)
    for column, row in enumerate(rows):
        image = scenes.images[row]
        wrong = np.where(scenes.semantic[row] != found[row], 1.0, np.nan)
        for axes, mask in zip(panels[:, column], (None, scenes.semantic[row], found[row], wrong), strict=True):
            axes.imshow(image, cmap="gray", vmin=0, vmax=255)
            axes.set(xticks=[], yticks=[])
            if mask is wrong:
                axes.imshow(wrong, cmap="autumn", vmin=0, vmax=1, interpolation="nearest")
            elif mask is not None:
                painted = np.where(mask > 0, (mask.astype(float) - 1) % 10, np.nan)
                axes.imshow(painted, cmap=COLOURS, vmin=-0.5, vmax=9.5, alpha=0.8, interpolation="nearest")
    for axes, name in zip(panels[:, 0], ("scene", "true mask", "mask found", "wrong pixels"), strict=True):
        axes.set_ylabel(name)
    save_figure(figure, path)


def save_bars(values: Mapping[str, float], path: Path, title: str) -> None:
    """Plot one bar per class, by name."""
    figure = Figure(figsize=(5.4, 3.6), layout="constrained")
    axes = figure.subplots()
    bars = axes.bar(range(len(values)), list(values.values()))
    axes.bar_label(bars, [f"{value:.3f}" for value in values.values()], fontsize=8)
    axes.set(xticks=range(len(values)), xlabel="class", title=title, ylim=(0, 1.1))
    axes.set_xticklabels(list(values))
    axes.grid(axis="y", alpha=0.3)
    save_figure(figure, path)


def _panels(figure: Figure, count: int, columns: int) -> list[Axes]:
    panels = list(figure.subplots(-(-count // columns), columns, squeeze=False).ravel())
    for axes in panels:
        axes.axis("off")
    return panels[:count]


def _draw_box(axes: Axes, box: np.ndarray, text: str, colour: str) -> None:
    x, y, width, height = (float(value) for value in box)
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), width, height, fill=False, edgecolor=colour, linewidth=1.4))
    axes.text(x - 0.5, y - 1, text, color=colour, fontsize=8, va="bottom")
