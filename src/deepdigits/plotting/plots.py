"""Plots of evaluation results. As in `deepdigits.plotting.figures`, equal data give equal bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from deepdigits.plotting.figures import label_classes, save_figure


def save_robustness(accuracy: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Draw bars of accuracy by corruption, one colour per classifier."""
    names = list(next(iter(accuracy.values())))
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(accuracy)
    for index, (classifier, found) in enumerate(accuracy.items()):
        mean = np.mean(list(found.values()))
        where = np.arange(len(names)) + (index - (len(accuracy) - 1) / 2) * width
        axes.bar(where, [found[name] for name in names], width, label=f"{classifier.upper()}, mean {mean:.1%}")
    axes.set(ylim=(0, 1.18), ylabel="accuracy", title="Test accuracy under the corruptions of MNIST-C, none trained on")
    axes.set_xticks(range(len(names)), [name.replace("_", " ") for name in names], rotation=40, ha="right")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="upper right", ncols=len(accuracy))
    save_figure(figure, path)


def save_curves(
    curves: Mapping[str, tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray]],
    path: Path,
    title: str,
    x_label: str,
    y_label: str,
) -> None:
    """Draw one line per entry, `name: (x, y)`. Lines of up to twenty points get markers."""
    figure = Figure(figsize=(5.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, (x, y) in curves.items():
        axes.plot(x, y, marker="o" if len(x) <= 20 else None, label=name)
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    axes.grid(alpha=0.3)
    axes.legend()
    save_figure(figure, path)


def save_pairs(first: np.ndarray, second: np.ndarray, names: Sequence[str], path: Path, title: str) -> None:
    """Draw a 2D histogram of the pairs for each measure, a column of both `(n, k)`: first on x, second on y."""
    figure = Figure(figsize=(5 * len(names), 4.4), layout="constrained")
    figure.suptitle(title)
    for name, across, up, axes in zip(names, first.T, second.T, figure.subplots(1, len(names)), strict=True):
        low, high = np.quantile(np.concatenate([across, up]), (0.002, 0.998))
        axes.hist2d(across, up, bins=60, range=[[low, high]] * 2, cmap="Blues", norm="log")
        axes.axline((low, low), slope=1, color="black", linewidth=0.8)
        axes.set(xlabel=f"source: {name}", ylabel=f"swap: {name}", title=f"r = {np.corrcoef(across, up)[0, 1]:.3f}")
    save_figure(figure, path)


def save_occlusions(images: Sequence[np.ndarray], maps: np.ndarray, captions: Sequence[str], path: Path) -> None:
    """Draw each image, uint8 `(28, 28)`, above its occlusion map; red: covering this part weakens the prediction."""
    columns = max(1, len(images))
    figure = Figure(figsize=(columns * 1.7, 4.3), layout="constrained")
    figure.suptitle("What the most confident mistakes hang on" if len(images) else "No mistakes to explain")
    for index, (upper, lower) in enumerate(figure.subplots(2, columns, squeeze=False).T):
        upper.axis("off")
        lower.axis("off")
        if index < len(images):
            limit = max(float(np.abs(maps[index]).max()), 1e-6)
            upper.imshow(images[index], cmap="gray_r", vmin=0, vmax=255)
            upper.set_title(captions[index], fontsize=8)
            lower.imshow(images[index], cmap="gray_r", vmin=0, vmax=510)
            lower.imshow(maps[index], cmap="RdBu_r", vmin=-limit, vmax=limit, alpha=0.75)
    save_figure(figure, path)


def save_convolution(image: np.ndarray, kernels: np.ndarray, maps: np.ndarray, path: Path) -> None:
    """Draw a digit, the first layer's kernels `(channels, k, k)` and the feature map `(channels, h, w)` below each."""
    channels, columns = len(kernels), 8
    rows = -(-channels // columns)
    figure = Figure(figsize=(columns * 0.95 + 1.8, rows * 2.2 + 0.4), layout="constrained")
    left, right = np.ravel(figure.subfigures(1, 2, width_ratios=(1.7, columns * 0.95), squeeze=False))
    shown = left.subplots()
    shown.imshow(image, cmap="gray_r")
    shown.set_title("input", fontsize=9)
    shown.axis("off")
    right.suptitle("First layer: learned 3x3 kernels (red positive, blue negative) and their feature maps", fontsize=10)
    limit = float(np.abs(kernels).max())
    for index, axes in enumerate(right.subplots(2 * rows, columns, squeeze=False).ravel()):
        axes.axis("off")
        channel = index // (2 * columns) * columns + index % columns
        if channel < channels and index % (2 * columns) < columns:
            axes.imshow(kernels[channel], cmap="RdBu_r", vmin=-limit, vmax=limit)
        elif channel < channels:
            axes.imshow(maps[channel], cmap="gray_r")
    save_figure(figure, path)


def save_by_step(
    images: Sequence[np.ndarray], probabilities: Sequence[np.ndarray], classes: Sequence[str], columns: bool, path: Path
) -> None:
    """Draw, next to each image, the class probabilities `(28, k)` after each row or column that the net has read."""
    step = "column" if columns else "row"
    figure = Figure(figsize=(11, 2.6 * -(-len(images) // 2)), layout="constrained")
    figure.suptitle(f"What the recurrent net believes after each {step}")
    grid = figure.subplots(-(-len(images) // 2), 4, squeeze=False, width_ratios=(1, 2, 1, 2))
    for axes in grid.ravel()[2 * len(images) :]:
        axes.axis("off")
    for index, (image, by_step) in enumerate(zip(images, probabilities, strict=True)):
        picture, belief = grid.ravel()[2 * index : 2 * index + 2]
        picture.imshow(image, cmap="gray_r", aspect="auto")
        picture.set(xticks=[], ylabel="row")
        belief.imshow(by_step, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        belief.set(yticks=[], xlabel="class" if index >= len(images) - 2 else "", ylabel=step)
        label_classes(belief.xaxis, classes)
    save_figure(figure, path)
