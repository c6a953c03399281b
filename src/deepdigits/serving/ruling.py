"""Removes lines and squares printed on paper from ink."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_dilation, grey_opening
from skimage.transform import hough_line, hough_line_peaks

SEEN = 60  # of 255; fainter lines do no harm
WIDEST = 9  # pixels; anything wider is not a line
TILTED = 20  # degrees at most from horizontal or vertical
NEAR = 4  # pixels at most between where a line is expected and where it lies


def without_lines(ink: np.ndarray) -> np.ndarray:
    """Remove thin, nearly horizontal or vertical lines that run from edge to edge from ink uint8 `(height, width)`.

    Strokes that cross a line stay whole.
    """
    edges = np.concatenate([ink[:3].ravel(), ink[-3:].ravel(), ink[:, :3].ravel(), ink[:, -3:].ravel()])
    if not (edges > SEEN).any():
        return ink
    clean = _without_horizontal_lines(ink)
    return _without_horizontal_lines(clean.T).T


def _without_horizontal_lines(ink: np.ndarray) -> np.ndarray:
    seen = ink > SEEN
    thin = seen & ~grey_opening(seen.view(np.uint8), (WIDEST, WIDEST)).view(bool)
    width = ink.shape[1]
    if width < 4 * WIDEST or thin.sum() < width // 2:
        return ink
    angles = np.radians(90 + np.arange(-TILTED, TILTED + 0.1, 0.5))
    votes, angles, distances = hough_line(thin, angles)
    _, angles, distances = hough_line_peaks(votes, angles, distances, 6, 4, 0.4 * width)
    clean = ink.copy()
    columns = np.arange(width)
    for angle, distance in zip(angles, distances, strict=True):
        rows = (distance - columns * np.cos(angle)) / np.sin(angle)
        _erase(ink, clean, rows)
    return clean


def _erase(ink: np.ndarray, clean: np.ndarray, rows: np.ndarray) -> None:
    """If there is a line near `rows`, given one per column, erase it from `clean`."""
    offsets = np.arange(-NEAR, NEAR + 1)
    band, inside = _band(ink, rows, offsets)
    present = band.max(axis=0) > SEEN
    if inside.sum() < len(rows) // 3 or not _is_whole(present[inside]):
        return
    columns = np.arange(len(rows))
    on = present & inside
    rows = np.polyval(np.polyfit(columns[on], (rows + offsets[band.argmax(axis=0)])[on], 2), columns)
    reach = WIDEST // 2 + 4
    offsets = np.arange(-reach, reach + 1)
    band, inside = _band(ink, rows, offsets)
    if not inside.any():
        return
    profile = np.median(band[:, inside], axis=1)
    if profile.max() < SEEN / 2:
        return
    wide = np.flatnonzero(profile > profile.max() / 4)
    first, last = max(1, wide[0] - 1), min(len(offsets) - 2, wide[-1] + 1)
    above, below = (binary_dilation(band[beside] > SEEN, iterations=2) for beside in (first - 1, last + 1))
    part = slice(first, last + 1)
    kept = (above & below) | (band[part] > 1.5 * profile.max())  # a stroke runs across the line, or along it
    gone = ~kept & inside
    where = np.round(rows + offsets[part, None]).astype(int)
    gone &= (where >= 0) & (where < len(ink))
    clean[where[gone], np.broadcast_to(columns, where.shape)[gone]] = 0


def _band(ink: np.ndarray, rows: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ink at `offsets` from `rows`, and where the row itself is inside the picture."""
    where = np.round(rows + offsets[:, None]).astype(int)
    inside = (rows > -1) & (rows < len(ink))
    band = ink[where.clip(0, len(ink) - 1), np.arange(len(rows))]
    return np.where((where >= 0) & (where < len(ink)), band, 0), inside


def _is_whole(present: np.ndarray) -> bool:
    end = max(1, len(present) // 12)
    return bool(present.mean() > 0.75 and present[:end].mean() > 0.5 and present[-end:].mean() > 0.5)
