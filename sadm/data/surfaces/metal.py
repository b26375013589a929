"""Brushed metal: fine streaks, and highlights that stretch across them."""

from __future__ import annotations

import dataclasses

import numpy as np

from sadm.data.surfaces.noise import octaves, streaks
from sadm.data.surfaces.scene import Array, Frame, Light, Stream, Window, tinted

_TINTS = {
    "steel": (1.0, 1.0, 1.0),
    "aluminium": (0.97, 1.0, 1.05),
    "nickel": (1.03, 1.0, 0.95),
    "brass": (1.12, 1.0, 0.72),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Metal:
    """A brushed sheet.

    Grooves scatter light in the plane across them, so a lamp appears as a band across the streaks. Its edges are frayed,
    since each groove is tilted a little differently.

    Attributes:
        light: the lamp.
        tint: see `Ground`.
        streak: the grooves [H, W], unit variance.
        along: position along the brushing direction [H, W], in lengths of the shorter side.
        lengthwise: whether the brushing direction is that of the rows.
        bands: centre, width and strength of the highlights [n, 3].
        contrast: of the streaks.
        base: matt reflection.
    """

    light: Light
    tint: Array
    streak: Array
    along: Array
    lengthwise: bool
    bands: Array
    contrast: float
    base: float
    material: str = "metal"

    def radiance(
        self, window: Window, slope_y: Array | float = 0.0, slope_x: Array | float = 0.0, gloss: Array | float = 1.0
    ) -> Array:
        streak = self.streak[window]
        # A slope along the streaks turns the mirror, and so moves the reflected band.
        tilt = slope_x if self.lengthwise else slope_y
        place = 0.03 * streak
        place += self.along[window]
        place += 0.6 * tilt
        light = np.zeros_like(streak)
        for centre, width, strength in self.bands:
            band = place - centre
            band /= width
            np.square(band, out=band)
            band += 1
            light += np.divide(
                strength, band, out=band
            )  # Lorentzian: a bright middle and long tails, as of rough metal
        light *= gloss
        light += self.base * self.light.lambert(slope_y, slope_x)
        light *= np.exp(streak * (self.contrast * gloss))
        return light


def metal(stream: Stream, frame: Frame, light: Light) -> Metal:
    """Draws a brushed sheet."""
    rng = stream("metal")
    kind, direction, slant, cross, length, contrast, base, cloud = rng.random(8)
    count = 1 + int(rng.integers(3))
    bands = rng.random((count, 3))
    lengthwise = bool(direction < 0.5)
    turned = frame if lengthwise else Frame(frame.width, frame.height)
    slant = 0.12 * (2 * slant - 1)
    length = 0.2 * 4**length
    clouds = octaves(rng, turned, 1, 0.5, last=3)
    clouds *= 0.25 * cloud
    # Two passes of the brush, whose directions differ a little.
    field = 0.8 * streaks(rng, turned, length, slant)
    crossing = streaks(stream("second pass"), turned, 0.6 * length, slant + 0.015 + 0.05 * cross)
    crossing *= 0.5
    field += crossing
    field += clouds
    along = np.broadcast_to(turned.x - slant * turned.y, field.shape)
    bands = np.stack(
        [turned.extent[1] * (1.3 * bands[:, 0] - 0.15), 0.05 + 0.3 * bands[:, 1] ** 2, 0.15 + 0.5 * bands[:, 2]], axis=1
    )
    return Metal(
        light=light,
        tint=tinted(*tuple(_TINTS.values())[int(kind * len(_TINTS))]),
        streak=field if lengthwise else np.ascontiguousarray(field.T),
        along=along if lengthwise else along.T,
        lengthwise=lengthwise,
        bands=bands,
        contrast=0.08 + 0.13 * contrast,
        base=0.3 + 0.3 * base,
    )
