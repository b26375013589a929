"""Line drawings of plates with holes, centre lines and dimensions: dark ink on light paper, from a seed and an index."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sadm.data import ImageSet

SIDE = 32
_Segment = tuple[float, float, float, float]  # from (x, y) to (x, y), in pixels
_Ring = tuple[float, float, float]  # centre (x, y) and radius


def drawing(index: int, seed: int) -> np.ndarray:
    """One drawing [SIDE, SIDE], uint8; it depends on the arguments alone."""
    draws = np.random.default_rng([seed, index])
    left, right = draws.uniform(3, 8), draws.uniform(22, 28)
    top, bottom = draws.uniform(3, 8), draws.uniform(18, 23)
    thick: list[_Segment] = [*_plate(draws, left, right, top, bottom)]
    thin: list[_Segment] = []
    rings: list[_Ring] = []
    holes = int(draws.integers(1, 3))
    width = (right - left) / holes
    for hole in range(holes):
        x, y = left + (hole + 0.5) * width, (top + bottom) / 2 + draws.uniform(-1.5, 1.5)
        radius = draws.uniform(1.8, min(4.0, width / 2 - 1.5))
        rings.append((x, y, radius))
        reach = radius + 2
        thin += [(x - reach, y, x + reach, y), (x, y - reach, x, y + reach)]
    if draws.random() < 0.7:  # a dimension below: a line with ticks at its ends
        y = draws.uniform(26, 29)
        thin += [(left, y, right, y), (left, y - 1.5, left, y + 1.5), (right, y - 1.5, right, y + 1.5)]
    paper, ink, pen = draws.uniform(0.9, 1.0), draws.uniform(0.03, 0.2), draws.uniform(0.5, 0.75)
    cover = np.maximum(_inked(thick, rings, pen), 0.75 * _inked(thin, [], 0.3))
    return np.rint(255 * (paper + (ink - paper) * cover)).astype(np.uint8)


def drawings(count: int, seed: int) -> ImageSet:
    """Drawings 0 to ``count - 1`` of a seed."""
    import torch

    from sadm.data import ImageSet

    images = torch.from_numpy(np.stack([drawing(index, seed) for index in range(count)]))[:, None]
    return ImageSet(
        images=images,
        labels=None,
        class_names=(),
        names=tuple(f"drawings/{index}" for index in range(count)),
        source=f"drawings of seed {seed}",
    )


def _plate(draws: np.random.Generator, left: float, right: float, top: float, bottom: float) -> list[_Segment]:
    """A rectangle's outline, of which a corner may be cut off or stepped in."""
    cut = draws.uniform(2, 5)
    kind, corner = draws.random(), [(left, top), (left + cut, top), (left, top + cut), (left + cut, top + cut)]
    rest = [(right, top), (right, bottom), (left, bottom)]
    if kind < 0.4:
        outline = [corner[0], *rest]
    elif kind < 0.7:
        outline = [corner[1], *rest, corner[2]]
    else:
        outline = [corner[1], *rest, corner[2], corner[3]]
    return [(*a, *b) for a, b in zip(outline, [*outline[1:], outline[0]], strict=True)]


def _inked(segments: list[_Segment], rings: list[_Ring], pen: float) -> np.ndarray:
    """Share of each pixel that a round pen covers [SIDE, SIDE], in [0, 1]; `pen` is half its width in pixels."""
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    away = np.full((SIDE, SIDE), math.inf)
    for x1, y1, x2, y2 in segments:
        along = ((x - x1) * (x2 - x1) + (y - y1) * (y2 - y1)) / ((x2 - x1) ** 2 + (y2 - y1) ** 2)
        along = along.clip(0, 1)
        away = np.minimum(away, np.hypot(x - x1 - along * (x2 - x1), y - y1 - along * (y2 - y1)))
    for cx, cy, radius in rings:
        away = np.minimum(away, np.abs(np.hypot(x - cx, y - cy) - radius))
    return np.clip(pen + 0.5 - away, 0, 1)
