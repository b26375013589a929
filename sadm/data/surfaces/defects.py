"""Scratches, dents, stains and cracks: what happens to a surface, with a size and a contrast that grow with severity."""

from __future__ import annotations

import math

import numpy as np

from sadm.data.surfaces.change import Change, Patch, ellipse, smoothstep
from sadm.data.surfaces.fabric import Fabric
from sadm.data.surfaces.paths import Line, dense, stroke, tree, window_of
from sadm.data.surfaces.scene import Array, Frame, Ground, Light, Stream, grown, tinted
from sadm.data.surfaces.strokes import slopes, stamp

_BARE = {"metal": 0.6, "casting": 0.6, "fabric": 0.8}  # how much brighter a fresh scratch is
_STAINS = {"rust": (1.35, 0.95, 0.42), "oil": (1.12, 1.02, 0.68), "soot": (1.0, 1.0, 1.0), "ink": (0.85, 1.0, 1.45)}
_FAINT = 0.04  # pressure below which nothing is drawn


def place(rng: np.random.Generator, frame: Frame) -> tuple[float, float]:
    """A point (y, x) away from the border, in lengths of the shorter side."""
    y, x = (0.15 + 0.7 * rng.random(2)) * frame.extent
    return float(y), float(x)


def scratch(stream: Stream, frame: Frame, surface: Ground, light: Light, severity: float) -> Change:
    """Something hard slipped: grooves side by side between burrs, lit from one side, broken here and there."""
    rng = stream("scratch")
    centre, heading = np.array(place(rng, frame)), 2 * math.pi * rng.random()
    bend, points, dirty, again = rng.random(4)
    length, width = grown(0.22, 1.15, severity), grown(0.0035, 0.010, severity)
    lines = []
    for k in range(2 + int(3 * points)):  # what slipped has several points
        aside = min(k, 1) * width * rng.standard_normal(2)
        lines.append(stroke(rng, centre + aside, heading, length * (1 - 0.1 * k), 0.9 * (bend - 0.5)))
    if again < 0.6 * severity:
        aside, turn = 0.05 * rng.standard_normal(2), 0.12 * rng.standard_normal()
        lines.append(stroke(rng, centre + aside, heading + turn, 0.6 * length, 0.9 * (bend - 0.5)))
    radius = (0.9 if isinstance(surface, Fabric) else 0.6) * width * frame.unit  # cloth frays
    line = _to_draw(lines, radius, frame)
    window = window_of(frame, line.points, 2 * radius + 4)
    at, nib = line.points * frame.unit, radius * np.sqrt(line.pressure)
    groove = stamp(at, nib, line.pressure, window, bowl=True)
    burr = stamp(at, 1.8 * nib + 0.3, line.pressure, window, bowl=True)
    depth = grown(0.35, 1.0, severity) * max(radius, 0.7)  # in pixels, so that a slope has no resolution
    slope_y, slope_x = slopes(depth * (0.6 * burr - 1.5 * groove))
    bright = _BARE[surface.material] * (0.5 + 0.5 * severity) * (-0.8 if dirty < 0.25 else 1)
    return Change(window, slope_y, slope_x, gloss=1 - 0.4 * groove, factor=1 + bright * groove)


def dent(stream: Stream, frame: Frame, surface: Ground, light: Light, severity: float) -> Change:
    """A blow of something blunt: a hollow with a soft shoulder and a slight rim."""
    rng = stream("dent")
    y, x = place(rng, frame)
    turn, long, rim, deep = rng.random(4)
    radius = grown(0.055, 0.19, severity)
    patch = Patch(frame, y, x, 1.75 * radius)
    rho = ellipse(patch, 1.75, turn, 1 + 0.6 * long)
    rho *= np.exp(0.22 * patch.noise(rng, 2, 0.4, last=4))
    hollow = np.maximum(1 - rho, 0)
    height = 0.10 * rim * np.exp(-np.square((rho - 1.25) / 0.35)) - np.square(hollow)
    steepest = grown(0.3, 0.95, severity) * (0.8 + 0.4 * deep) * math.tan(light.elevation)
    depth = steepest / 1.54 * radius * frame.unit  # (1 - r^2)^2 is nowhere steeper than 1.54
    slope_y, slope_x = slopes(depth * height)
    return Change(
        patch.window, slope_y, slope_x, factor=1 - (0.05 + 0.1 * severity) * hollow
    )  # it sees less of the room


def stain(stream: Stream, frame: Frame, surface: Ground, light: Light, severity: float) -> Change:
    """A liquid that dried: an irregular border, a rim, drops beside it."""
    rng = stream("stain")
    y, x = place(rng, frame)
    kind, soft, ring, turn, long, drops, pale = rng.random(7)
    radius = grown(0.07, 0.26, severity)
    patch = Patch(frame, y, x, 2 * radius)
    rho = np.sqrt(ellipse(patch, 2, turn, 1 + 0.8 * long))
    down, right = (2 * part for part in patch.coordinates())
    for angle, distance, size in rng.random((int(3 * drops + severity), 3)):
        away, angle = 1.1 + 0.5 * distance, 2 * math.pi * angle
        drop = np.hypot(down - away * math.sin(angle), right - away * math.cos(angle)) / (0.1 + 0.16 * size)
        np.minimum(rho, drop, out=rho)
    rho += 0.2 * patch.noise(stream("border"), 2, 0.62, last=7)
    width = 0.10 + 0.35 * soft
    amount = 0.55 + 0.45 * smoothstep(0.1, 1.0, rho) + 0.12 * patch.noise(stream("cloud"), 3, 0.6, last=6)
    amount += 0.7 * ring * np.exp(-np.square((rho - 1 + 0.7 * width) / (0.05 + 0.25 * width)))
    cover = np.clip(amount, 0, 1.6) * smoothstep(1.0, 1.0 - width, rho)
    full = np.minimum(cover, 1)
    strength = grown(0.16, 0.62, severity)
    # Dried coolant leaves a pale film on metal and castings; all else darkens, and takes the shine away.
    film = pale < 0.15 and surface.material != "fabric"
    change = 0.5 * strength if film else -strength
    return Change(
        patch.window,
        gloss=1.0 if film else 1 - 0.6 * full,
        factor=np.maximum(1 + change * np.minimum(cover, 1.5), 0.08),
        hue=tinted(*tuple(_STAINS.values())[int(kind * len(_STAINS))]),
        hue_cover=min(1.3 * strength + 0.15, 1.0) * full,
    )


def crack(stream: Stream, frame: Frame, surface: Ground, light: Light, severity: float) -> Change:
    """A branching crack with a dark core and a lip that catches light; in cloth, a tear along the threads."""
    rng = stream("crack")
    start, heading = np.array(place(rng, frame)), 2 * math.pi * rng.random()
    before, more = rng.random(2)
    length, radius = grown(0.20, 0.95, severity), grown(0.0030, 0.0068, severity) * frame.unit
    branches, jitter = int(1 + 5 * severity + more), 0.55
    if isinstance(surface, Fabric):
        heading = surface.turn + round(heading / (math.pi / 2)) * math.pi / 2
        branches, jitter, radius = 0, 0.3, 1.7 * radius  # the threads draw apart
    start -= (0.3 + 0.3 * before) * length * np.array([math.sin(heading), math.cos(heading)])
    line = _to_draw(tree(rng, start, heading, length, branches, jitter), radius, frame)
    window = window_of(frame, line.points, 2.5 * radius + 4)
    frayed = np.clip(1 + 0.25 * stream("frayed").standard_normal(len(line.pressure)), 0.4, 1.5)
    at, nib = line.points * frame.unit, radius * line.pressure**0.8 * frayed
    core = stamp(at, nib, line.pressure**0.3, window)
    lip = stamp(at, 2.2 * nib + 0.6, line.pressure, window, bowl=True)
    slope_y, slope_x = slopes(0.35 * max(radius, 0.8) * lip)
    return Change(window, slope_y, slope_x, factor=(1 - grown(0.55, 0.95, severity) * core) * (1 - 0.18 * lip))


def _to_draw(lines: list[Line], radius: float, frame: Frame) -> Line:
    """All points to be stamped with a nib of up to `radius` pixels."""
    close = [dense(line, max(0.5, 0.3 * radius) / frame.unit) for line in lines]
    points, pressure = (
        np.concatenate(parts) for parts in zip(*((line.points, line.pressure) for line in close), strict=True)
    )
    height, width = frame.extent
    margin = 3 * (radius + 1) / frame.unit
    inside = ((points > -margin) & (points < np.array([height, width]) + margin)).all(1)
    drawn: Array = inside & (pressure > _FAINT)
    drawn[np.argmax(inside * pressure)] = True  # a dot at least
    return Line(points[drawn], pressure[drawn])
