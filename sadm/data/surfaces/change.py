"""`Change`: what a defect does to a window of the picture."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from sadm.data.surfaces.noise import octaves
from sadm.data.surfaces.scene import Array, Frame, Ground, Window, in_bands


@dataclasses.dataclass(frozen=True, eq=False)
class Change:
    """What a defect does to the light from a window of the surface.

    Attributes:
        window: where.
        slope_y, slope_x: added to the surface's slopes.
        gloss: factor on what is reflected as in a mirror.
        factor: on all light: pigment and shadow.
        hue: colour of the pigment [3], of luminance 1.
        hue_cover: how much of the pigment's colour is seen, in [0, 1].
        ground: what is seen instead of the surface; None = the surface.
        cover: share of each pixel in which something else is seen, in [0, 1].
        inside: light from there.
    """

    window: Window
    slope_y: Array | float = 0.0
    slope_x: Array | float = 0.0
    gloss: Array | float = 1.0
    factor: Array | float = 1.0
    hue: Array | None = None
    hue_cover: Array | float = 0.0
    ground: Ground | None = None
    cover: Array | float = 0.0
    inside: Array | float = 0.0

    def radiance(self, surface: Ground) -> Array:
        """Light from the window of the changed surface [h, w]."""
        ground = surface if self.ground is None else self.ground
        light = in_bands(ground, self.window, self.slope_y, self.slope_x, self.gloss)
        light *= self.factor
        return light + self.cover * (self.inside - light)

    def colour(self, channel: int) -> Array | float:
        """Factor on one channel of a colour picture."""
        return 1.0 if self.hue is None else 1 + self.hue_cover * (float(self.hue[channel]) - 1)


_SMALLEST = 4  # pixels: a slope needs neighbours


@dataclasses.dataclass(frozen=True)
class Patch:
    """A round neighbourhood of a point, with coordinates that end at 1 (or leave the picture).

    Attributes:
        frame: the picture.
        y, x: the point, in lengths of the shorter side.
        reach: radius of the neighbourhood, in the same.
    """

    frame: Frame
    y: float
    x: float
    reach: float

    @property
    def window(self) -> Window:
        """The pixels of its bounding square within the picture."""
        return self._cut[0]

    @property
    def _cut(self) -> tuple[Window, Window]:
        """Window within the picture, and within the whole square."""
        parts = []
        half = self._half
        for centre, side in ((self.y, self.frame.height), (self.x, self.frame.width)):
            low = round(centre * self.frame.unit) - half
            start, stop = max(low, 0), min(low + 2 * half, side)
            parts.append((slice(start, stop), slice(start - low, stop - low)))
        return (parts[0][0], parts[1][0]), (parts[0][1], parts[1][1])

    def coordinates(self) -> tuple[Array, Array]:
        """Position of each pixel of the window relative to the point, in reaches: [h, 1] and [1, w]."""
        rows, columns = self.window
        return (self.frame.y[rows] - self.y) / self.reach, (self.frame.x[:, columns] - self.x) / self.reach

    def noise(self, rng: np.random.Generator, first: int, roughness: float, last: int | None = None) -> Array:
        """Octaves of noise (see `octaves`) of the window, in which the whole square is the unit of length."""
        return octaves(rng, Frame(2 * self._half, 2 * self._half), first, roughness, last)[self._cut[1]]

    @property
    def _half(self) -> int:
        return max(math.ceil(self.reach * self.frame.unit), _SMALLEST)


def ellipse(patch: Patch, scale: float, turn: float, long: float) -> Array:
    """Squared distance from the middle of a patch as an ellipse measures it [h, w]; `scale` along its border.

    Args:
        patch: the neighbourhood.
        scale: distance at which the patch ends, on average.
        turn: direction of the ellipse, as a share of half a turn.
        long: ratio of its axes, at least 1.
    """
    down, right = (scale * part for part in patch.coordinates())
    c, s = math.cos(math.pi * turn), math.sin(math.pi * turn)
    return np.square(right * c + down * s) * long + np.square(down * c - right * s) / long


def smoothstep(low: float, high: float, value: Array) -> Array:
    """0 below `low`, 1 above `high`, smooth between; `low` may be the larger, which turns it round."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
