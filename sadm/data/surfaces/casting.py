"""Cast iron and aluminium: a rough skin of many octaves with pores, under grazing light."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from sadm.data.surfaces.noise import octaves
from sadm.data.surfaces.scene import Array, Frame, Light, Stream, Window, tinted
from sadm.data.surfaces.strokes import slopes, stamp


@dataclasses.dataclass(frozen=True, eq=False)
class Casting:
    """A cast skin.

    Attributes:
        light: the lamp.
        tint: see `Ground`.
        albedo: share of the light that comes back [H, W].
        slope_y, slope_x: of the skin [H, W].
        ambient: light from everywhere, as a share.
        shine: strength of the glint on facets that mirror the lamp.
    """

    light: Light
    tint: Array
    albedo: Array
    slope_y: Array
    slope_x: Array
    ambient: float
    shine: float
    material: str = "casting"

    def radiance(
        self, window: Window, slope_y: Array | float = 0.0, slope_x: Array | float = 0.0, gloss: Array | float = 1.0
    ) -> Array:
        down, right = self.slope_y[window] + slope_y, self.slope_x[window] + slope_x
        light = self.light.lambert(down, right)
        glint = light - 1.4  # facets turned towards the lamp
        np.maximum(glint, 0, out=glint)
        glint *= self.shine * gloss
        light *= 1 - self.ambient
        light += self.ambient
        light += glint
        light *= self.albedo[window]
        return light


def casting(stream: Stream, frame: Frame, light: Light) -> Casting:
    """Draws a cast skin."""
    rng = stream("casting")
    dark, rough, grain, sandy, mottle, porous, ambient, shine, warm = rng.random(9)
    fine = round(grain)
    pores = _pores(rng, frame, porous)
    albedo = octaves(rng, frame, 1, 0.6, last=3)
    height = octaves(rng, frame, 5 + fine, 0.6 + 0.3 * rough)  # the mould's sand
    height *= (0.0015 + 0.003 * sandy) * frame.unit / (1 + fine)
    wavy = octaves(stream("skin"), frame, 3, 0.55, last=6)
    wavy *= 0.006 * frame.unit
    height += wavy
    slope_y, slope_x = slopes(height)
    steepness = math.sqrt(float(np.mean(np.square(slope_y)) + np.mean(np.square(slope_x))))
    wanted = (0.12 + 0.28 * rough) * math.tan(light.elevation)  # the same contrast under any light
    slope_y *= wanted / steepness
    slope_x *= wanted / steepness
    if pores is not None:
        down, right = slopes(pores)
        slope_y -= down
        slope_x -= right
    albedo *= 0.04 + 0.10 * mottle
    graphite = rng.standard_normal(albedo.shape)
    graphite *= 0.015 + 0.03 * mottle
    albedo += graphite
    np.exp(albedo, out=albedo)
    albedo *= 0.30 + 0.45 * dark
    return Casting(
        light=light,
        tint=tinted(1 + 0.1 * (warm - 0.4), 1.0, 1 - 0.14 * (warm - 0.4)),
        albedo=albedo,
        slope_y=slope_y,
        slope_x=slope_x,
        ambient=0.1 + 0.25 * ambient,
        shine=0.9 * shine * dark,
    )


def _pores(rng: np.random.Generator, frame: Frame, share: float) -> Array | None:
    """How deep small pores are pressed into the skin [H, W], such as gas leaves there: too small to be defects."""
    height, width = frame.extent
    count = int(rng.poisson(50 * share**2 * height * width))
    if not count:
        return None
    places = rng.random((count, 2)) * frame.extent * frame.unit
    radius = 0.003 * frame.unit * np.exp(0.5 * rng.standard_normal(count))
    within = places + 0.2 * radius[:, None] * rng.standard_normal((count, 2))
    depth = 0.25 * np.maximum(radius, 0.8)
    # An uneven bowl: a smaller nib within a larger one.
    pores = stamp(places, radius, depth, frame.whole, bowl=True)
    pores += stamp(within, 0.55 * radius, depth, frame.whole, bowl=True)
    return pores
