"""Missing parts: a hole or a broken border in metal and castings, missing threads or a hole in cloth."""

from __future__ import annotations

import dataclasses

import numpy as np

from sadm.data.surfaces.change import Change, Patch, ellipse, smoothstep
from sadm.data.surfaces.defects import place
from sadm.data.surfaces.fabric import Fabric, Gap
from sadm.data.surfaces.scene import Array, Frame, Ground, Light, Stream, grown
from sadm.data.surfaces.strokes import slopes

_REACH = 1.6  # of a patch, in radii of what is missing in it
_BEHIND = 0.03  # light from behind a hole


def missing(stream: Stream, frame: Frame, surface: Ground, light: Light, severity: float) -> Change:
    """Something that should be there is not."""
    rng = stream("missing")
    kind = rng.random()
    if isinstance(surface, Fabric):
        return _threads(rng, frame, surface, severity) if kind < 0.65 else _torn(rng, frame, surface, severity)
    return (_hole if kind < 0.5 else _broken)(rng, frame, surface, severity)


def _threads(rng: np.random.Generator, frame: Frame, surface: Fabric, severity: float) -> Change:
    """Threads that were not woven in: the crossing ones lie bare, deeper than the cloth."""
    y, x = place(rng, frame)
    warp = bool(rng.random() < 0.5)
    across, along = (surface.warp, surface.weft) if warp else (surface.weft, surface.warp)
    here = int(y * frame.unit), int(x * frame.unit)
    first, middle = int(across[here]), float(along[here])
    last = first + round(1.4 * severity)
    half = grown(0.25, 1.3, severity) * frame.unit / surface.pitch / 2
    near = (across >= first - 0.5) & (across < last + 1.5) & (np.abs(along - middle) < half + 1)
    rows, columns = (np.flatnonzero(near.any(axis)) for axis in (1, 0))
    window = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    gap = Gap(warp, first, last, middle - half, middle + half)
    return Change(window, ground=dataclasses.replace(surface, gap=gap))


def _outline(rng: np.random.Generator, patch: Patch, ragged: float) -> Array:
    """Distance from the middle of a roundish shape, in radii; its border is at 1."""
    turn, long = rng.random(2)
    rho = np.sqrt(ellipse(patch, _REACH, turn, 1 + 0.5 * long))
    rho += ragged * patch.noise(rng, 2, 0.6, last=7)
    return rho


def _hole(rng: np.random.Generator, frame: Frame, surface: Ground, severity: float) -> Change:
    """Pierced: the dark behind, and a rim bent inwards, of which one side is lit."""
    y, x = place(rng, frame)
    radius = grown(0.035, 0.15, severity)
    patch = Patch(frame, y, x, _REACH * radius)
    rho = _outline(rng, patch, 0.04 if surface.material == "metal" else 0.12)
    pixel = 0.9 / (radius * frame.unit)
    slope_y, slope_x = slopes(smoothstep(0.84, 1.12, rho) * (0.22 * radius * frame.unit))
    return Change(patch.window, slope_y, slope_x, cover=smoothstep(0.86 + pixel, 0.86 - pixel, rho), inside=_BEHIND)


def _broken(rng: np.random.Generator, frame: Frame, surface: Ground, severity: float) -> Change:
    """A piece broken off the border: the dark behind, and beside it the rough slope of the fracture."""
    side, where, wide = rng.random(3)
    height, width = frame.extent
    corner = int(4 * side)
    y = (0.0, height)[corner] if corner < 2 else where * height
    x = where * width if corner < 2 else (0.0, width)[corner - 2]
    radius = grown(0.07, 0.30, severity)
    patch = Patch(frame, y, x, _REACH * radius)
    turn, long = rng.random(2)
    rho = np.sqrt(ellipse(patch, _REACH, turn, 1 + 0.5 * long))
    noise = patch.noise(rng, 2, 0.6, last=7)
    rho += 0.13 * noise
    pixel, edge = 0.9 / (radius * frame.unit), 0.62 + 0.12 * wide
    fracture = smoothstep(1 + pixel, 1 - pixel, rho)
    slope_y, slope_x = slopes(fracture * (rho - 1) * (0.5 - 0.14 * noise) * (radius * frame.unit))
    return Change(
        patch.window,
        slope_y,
        slope_x,
        gloss=1 - 0.8 * fracture,
        factor=1 - 0.2 * fracture,
        cover=smoothstep(edge + pixel, edge - pixel, rho),
        inside=_BEHIND,
    )


def _torn(rng: np.random.Generator, frame: Frame, surface: Fabric, severity: float) -> Change:
    """A hole in cloth, whose threads end at lengths of their own."""
    y, x = place(rng, frame)
    radius = grown(0.05, 0.17, severity)
    patch = Patch(frame, y, x, _REACH * radius)
    turn, long = rng.random(2)
    loose = 0.16 * rng.standard_normal((2, 256))
    rho = np.sqrt(ellipse(patch, _REACH, turn, 1 + 0.5 * long))
    rho += 0.06 * patch.noise(rng, 2, 0.6, last=7)
    ends = [
        ends.take(places[patch.window].astype(np.intp) & 255)
        for ends, places in zip(loose, (surface.warp, surface.weft), strict=True)
    ]
    rho += np.maximum(*ends) - 0.05
    pixel = 1.2 / (radius * frame.unit)
    slope_y, slope_x = slopes(smoothstep(0.9, 1.3, rho) * (0.12 * radius * frame.unit))
    return Change(patch.window, slope_y, slope_x, cover=smoothstep(1 + pixel, 1 - pixel, rho), inside=_BEHIND)
