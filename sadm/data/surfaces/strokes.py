"""Drawing with antialiased round nibs, and the slopes of what was drawn."""

from __future__ import annotations

import math

import numpy as np

from sadm.data.surfaces.scene import Array, Window


def stamp(points: Array, radius: Array, value: Array, window: Window, bowl: bool = False) -> Array:
    """Presses a round nib at each point; where marks overlap, the strongest stays.

    Args:
        points: [n, 2], rows and columns in pixels (0 is the upper or left edge of the picture).
        radius: of the nib at each point [n], in pixels.
        value: strength at each point [n], not negative.
        window: the part of the picture to draw.
        bowl: the mark is deepest in its middle, and not of one depth.

    Returns:
        [h, w] of the window.
    """
    rows, columns = (part.stop - part.start for part in window)
    result = np.zeros(rows * columns)
    for big in (False, True):  # small nibs need fewer pixels
        chosen = (radius > 3) == big
        if chosen.any():
            _stamp(result, points[chosen], radius[chosen], value[chosen], window, bowl)
    return result.reshape(rows, columns)


def _stamp(result: Array, points: Array, radius: Array, value: Array, window: Window, bowl: bool) -> None:
    rows, columns = (part.stop - part.start for part in window)
    points = points - (window[0].start + 0.5, window[1].start + 0.5)  # pixel centres on whole numbers
    reach = math.ceil(float(radius.max()) + 0.5)
    offsets = np.arange(-reach, reach + 1)
    nearest = np.rint(points).astype(np.intp)
    away = nearest - points
    dy = np.square(away[:, 0, None] + offsets)[:, :, None]
    dx = np.square(away[:, 1, None] + offsets)[:, None, :]
    outer = (radius + 0.5)[:, None, None]
    cover = 1 - (dy + dx) / np.square(outer) if bowl else outer - np.sqrt(dy + dx)
    np.clip(cover, 0, 1, out=cover)
    cover *= value[:, None, None]
    y = (nearest[:, 0, None] + offsets)[:, :, None]
    x = (nearest[:, 1, None] + offsets)[:, None, :]
    inside = (cover > 0) & (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
    np.maximum.at(result, (y * columns + x)[inside], cover[inside])


def slopes(height: Array) -> tuple[Array, Array]:
    """Slopes of a height map down and to the right, by central differences.

    Args:
        height: [h, w], in pixels.

    Returns:
        Two arrays [h, w]; the outermost rows and columns repeat their neighbours'.
    """
    down, right = np.empty_like(height), np.empty_like(height)
    np.subtract(height[2:], height[:-2], out=down[1:-1])
    np.subtract(height[:, 2:], height[:, :-2], out=right[:, 1:-1])
    down[0], down[-1] = down[1], down[-2]
    right[:, 0], right[:, -1] = right[:, 1], right[:, -2]
    down *= 0.5
    right *= 0.5
    return down, right
