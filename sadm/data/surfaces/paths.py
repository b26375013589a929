"""The lines that scratches, cracks and threads follow."""

from __future__ import annotations

import dataclasses

import numpy as np

from sadm.data.surfaces.noise import curve
from sadm.data.surfaces.scene import Array, Frame, Window

_STEPS = 96  # of a line, whatever its length


@dataclasses.dataclass(frozen=True, eq=False)
class Line:
    """A line of varying strength.

    Attributes:
        points: [n, 2], (y, x) in lengths of the shorter side.
        pressure: strength at each point [n], in [0, 1].
    """

    points: Array
    pressure: Array


def dense(line: Line, spacing: float) -> Line:
    """The same line with points at most `spacing` apart."""
    steps = np.linalg.norm(np.diff(line.points, axis=0), axis=1)
    at = np.concatenate([[0.0], np.cumsum(steps)])
    wanted = np.linspace(0, at[-1], int(at[-1] / spacing) + 2)
    y, x, pressure = (np.interp(wanted, at, values) for values in (*line.points.T, line.pressure))
    return Line(np.stack([y, x], axis=1), pressure)


def stroke(rng: np.random.Generator, centre: Array, heading: float, length: float, bend: float) -> Line:
    """A stroke of a hard point: slightly bent, tapering at both ends, of uneven pressure, interrupted here and there."""
    t = np.linspace(0, 1, _STEPS)
    angle = heading + bend * (t - 0.5) + 0.04 * curve(rng, 5, _STEPS)
    steps = np.stack([np.sin(angle), np.cos(angle)], 1) * (length / (_STEPS - 1))
    points = np.cumsum(steps, 0)
    points += centre - points[_STEPS // 2]
    pressure = np.minimum(1, np.minimum(6 * t, 3 * (1 - t))) ** 0.6
    pressure *= np.clip(0.75 + 0.25 * curve(rng, 10, _STEPS), 0.2, 1)
    pressure *= np.clip(1.6 + 1.8 * curve(rng, 9, _STEPS), 0.01, 1)  # it skips
    return Line(points, pressure)


def tree(
    rng: np.random.Generator, start: Array, heading: float, length: float, branches: int, jitter: float
) -> list[Line]:
    """A crack: a random walk that keeps its direction on the whole, and branches that leave it at sharp angles.

    Args:
        rng: decides all of it; a longer crack with more branches begins like a shorter one.
        start: its origin.
        heading: its mean direction.
        length: of the trunk.
        branches: how many leave trunk or earlier branches.
        jitter: standard deviation of the direction from step to step.
    """
    trunk = _walk(rng, start, heading, length, 1.0, jitter)
    lines = [Line(trunk.points, trunk.pressure * np.minimum(1, 0.15 + 7 * np.linspace(0, 1, _STEPS)))]
    for _ in range(branches):
        parent, where, side, angle, share = rng.random(5)
        line = lines[0] if parent < 0.65 else lines[int(rng.integers(len(lines)))]
        at = int((0.1 + 0.75 * where) * (_STEPS - 1))
        direction = line.points[min(at + 4, _STEPS - 1)] - line.points[max(at - 4, 0)]
        turn = (0.4 + 0.7 * angle) * (1 if side < 0.5 else -1)
        lines.append(
            _walk(
                rng,
                line.points[at],
                float(np.arctan2(direction[0], direction[1])) + turn,
                length * (0.15 + 0.35 * share),
                0.7 * float(line.pressure[at]),
                jitter,
            )
        )
    return lines


def _walk(
    rng: np.random.Generator, start: Array, heading: float, length: float, strength: float, jitter: float
) -> Line:
    noise = rng.standard_normal(_STEPS)
    wander = curve(rng, 6, _STEPS)
    angle = heading + jitter * noise + 0.45 * wander
    steps = np.stack([np.sin(angle), np.cos(angle)], 1) * (length / (_STEPS - 1))
    t = np.linspace(0, 1, _STEPS)
    pressure = strength * (1 - t) ** 0.5 * np.clip(0.85 + 0.3 * curve(rng, 14, _STEPS), 0.3, 1.2)
    return Line(start + np.cumsum(steps, 0) - steps[0], np.clip(pressure, 0, 1))


def window_of(frame: Frame, points: Array, margin: float) -> Window:
    """The part of a picture around some points.

    Args:
        frame: the picture.
        points: [n, 2], in lengths of the shorter side.
        margin: around them, in pixels.
    """
    parts = []
    for axis, side in enumerate((frame.height, frame.width)):
        low = int(np.floor(points[:, axis].min() * frame.unit - margin))
        high = int(np.ceil(points[:, axis].max() * frame.unit + margin))
        low = min(max(low, 0), side - 4)
        parts.append(slice(low, min(max(high, low + 4), side)))
    return parts[0], parts[1]
