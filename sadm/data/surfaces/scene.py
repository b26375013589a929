"""What all parts of a picture share: its frame, its light and its streams of random numbers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import cached_property
from typing import Protocol

import numpy as np

from sadm.core.seeds import derive_seed

_BAND = 1 << 15  # pixels of a band

Array = np.ndarray
Window = tuple[slice, slice]
"""Rows and columns of a picture, with explicit bounds."""

Stream = Callable[[str], np.random.Generator]
"""From a purpose to random numbers that no other purpose shares."""


def tinted(red: float, green: float, blue: float) -> Array:
    """A colour [3] of luminance 1 (ITU-R BT.601), so that it leaves a grey picture as it is."""
    colour = np.array([red, green, blue])
    return colour / (0.299 * red + 0.587 * green + 0.114 * blue)


def grown(small: float, large: float, severity: float) -> float:
    """From `small` to `large` in equal ratios, as severity goes from 0 to 1."""
    return small * (large / small) ** severity


def stream_of(seed: int, index: int) -> Stream:
    """The random numbers of one picture."""

    def stream(purpose: str) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(derive_seed(seed, "surface", index, purpose)))

    return stream


@dataclasses.dataclass(frozen=True)
class Frame:
    """The pixels of a picture. Lengths are shares of its shorter side, so that a scene has no resolution.

    Attributes:
        height, width: in pixels.
    """

    height: int
    width: int

    @property
    def unit(self) -> int:
        """Pixels of the shorter side."""
        return min(self.height, self.width)

    @property
    def extent(self) -> tuple[float, float]:
        """Height and width as multiples of the shorter side."""
        return self.height / self.unit, self.width / self.unit

    @property
    def whole(self) -> Window:
        """All pixels."""
        return slice(0, self.height), slice(0, self.width)

    @cached_property
    def y(self) -> Array:
        """Vertical position of the pixels' centres [H, 1]."""
        return ((np.arange(self.height) + 0.5) / self.unit)[:, None]

    @cached_property
    def x(self) -> Array:
        """Horizontal position of the pixels' centres [1, W]."""
        return ((np.arange(self.width) + 0.5) / self.unit)[None, :]


@dataclasses.dataclass(frozen=True)
class Light:
    """A distant lamp.

    Attributes:
        x, y: direction towards the lamp within the picture (x to the right, y downwards), of length 1.
        elevation: above the surface, in radians; small = grazing.
    """

    x: float
    y: float
    elevation: float

    def lambert(self, slope_y: Array | float, slope_x: Array | float) -> Array:
        """Light that a matt surface of these slopes receives, relative to a flat one, never negative.

        The cosine of the angle between its normal and the light over that of the flat surface: Lambert's law.

        Args:
            slope_y, slope_x: change of height per length, broadcastable.
        """
        steepness = 1 / math.tan(self.elevation)
        facing = 1 - steepness * (self.x * slope_x + self.y * slope_y)
        return np.maximum(facing, 0) / np.sqrt(1 + np.square(slope_x) + np.square(slope_y))


class Ground(Protocol):
    """A surface without defects, ready to be lit."""

    @property
    def material(self) -> str:
        """Its name."""
        ...

    @property
    def tint(self) -> Array:
        """Relative strength of red, green and blue [3]; their luminance is 1."""
        ...

    def radiance(
        self, window: Window, slope_y: Array | float = 0.0, slope_x: Array | float = 0.0, gloss: Array | float = 1.0
    ) -> Array:
        """Light that reaches the lens from a window of the surface.

        Args:
            window: which pixels.
            slope_y, slope_x: slopes of a defect, on top of the surface's own.
            gloss: factor on what is reflected as in a mirror.
        """
        ...


def in_bands(
    ground: Ground,
    window: Window,
    slope_y: Array | float = 0.0,
    slope_x: Array | float = 0.0,
    gloss: Array | float = 1.0,
) -> Array:
    """`Ground.radiance` [h, w], computed a few rows at a time, so that a processor's cache holds what is needed."""
    rows, columns = window
    light = np.empty((rows.stop - rows.start, columns.stop - columns.start))
    step = max(_BAND // light.shape[1], 1)
    for top in range(0, len(light), step):
        part = slice(top, min(top + step, len(light)))
        given = [value if isinstance(value, float) else value[part] for value in (slope_y, slope_x, gloss)]
        light[part] = ground.radiance((slice(rows.start + part.start, rows.start + part.stop), columns), *given)
    return light
