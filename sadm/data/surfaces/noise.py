"""Random fields that keep their coarse structure when the picture is sampled more finely."""

from __future__ import annotations

import math

import numpy as np

from sadm.data.surfaces.scene import Array, Frame

# Share of its variance that an octave keeps when it is smoothed along an axis: mean square of quadratic B-splines.
_SMOOTHED = 0.55
_FADING = 0.85  # of coarse streaks relative to the next finer ones
_STROKE = 0.45**2 + 2 * 0.45 * 0.25 * math.sqrt(8 / math.pi) + 3 * 0.25**2  # variance of n (0.45 + 0.25 |n|), n normal


def octaves(rng: np.random.Generator, frame: Frame, first: int, roughness: float, last: int | None = None) -> Array:
    """Noise of several octaves, about unit variance.

    Octave k has 2**k independent values along the shorter side. Coarse octaves are drawn first, so a larger picture of the
    same shape shows the same field with finer octaves added.

    Args:
        rng: from which the values are drawn.
        frame: the picture.
        first: coarsest octave.
        roughness: amplitude of an octave relative to the one before; 0.5 looks like clouds, 1 like sand.
        last: finest octave; None = down to the pixels.

    Returns:
        [H, W].
    """
    finest = max(math.ceil(math.log2(frame.unit)), first)
    last = finest if last is None else min(last, finest)
    finest = min(finest, last + 2)  # smooth enough to be interpolated linearly
    rows, columns = (max(math.ceil(side * 2**first), 1) for side in frame.extent)
    field = rng.standard_normal((rows, columns))
    if first == finest:
        field *= _SMOOTHED
    amplitude, variance = 1.0, _SMOOTHED**2
    for octave in range(first + 1, finest + 1):
        field = double(double(field, 0), 1)
        if octave <= last:
            amplitude *= roughness
            fresh = rng.standard_normal(field.shape)
            fresh *= amplitude if octave < finest else amplitude * _SMOOTHED  # as if it were smoothed, too
            field += fresh
            variance += (amplitude * _SMOOTHED) ** 2
    field *= variance**-0.5
    return resample(resample(field, 0, 2**finest, frame.unit, frame.height), 1, 2**finest, frame.unit, frame.width)


def double(field: Array, axis: int) -> Array:
    """Twice as many samples along an axis, by subdivision of quadratic B-splines (G. Chaikin, 1974).

    Args:
        field: [M, N].
        axis: 0 or 1.
    """
    rows, columns = field.shape
    large, small = 0.75 * field, 0.25 * field
    result: Array
    if axis == 0:
        pairs = np.empty((rows, 2, columns))
        pairs[:] = large[:, None]
        pairs[1:, 0] += small[:-1]
        pairs[:-1, 1] += small[1:]
        pairs[0, 0] += small[0]
        pairs[-1, 1] += small[-1]
        result = pairs.reshape(2 * rows, columns)
    else:
        pairs = np.empty((rows, columns, 2))
        pairs[:] = large[..., None]
        pairs[:, 1:, 0] += small[:, :-1]
        pairs[:, :-1, 1] += small[:, 1:]
        pairs[:, 0, 0] += small[:, 0]
        pairs[:, -1, 1] += small[:, -1]
        result = pairs.reshape(rows, 2 * columns)
    return result


def resample(field: Array, axis: int, old: float, new: float, count: int) -> Array:
    """Linear interpolation along an axis.

    Args:
        field: [M, N].
        axis: 0 or 1.
        old, new: samples per length before and after.
        count: samples afterwards.
    """
    if old == new:
        return field[:count] if axis == 0 else field[:, :count]
    position = np.clip((np.arange(count) + 0.5) * (old / new) - 0.5, 0, field.shape[axis] - 1)
    below = np.minimum(position.astype(np.intp), max(field.shape[axis] - 2, 0))
    above = np.minimum(below + 1, field.shape[axis] - 1)
    share = position - below
    share = share[:, None] if axis == 0 else share[None, :]
    lower = field.take(below, axis)
    return lower + share * (field.take(above, axis) - lower)


def curve(rng: np.random.Generator, knots: int, positions: Array) -> Array:
    """A smooth random function with unit variance at its knots.

    Args:
        rng: from which the knots are drawn.
        knots: how many independent values lie between positions 0 and 1.
        positions: where it is wanted, in [0, 1].
    """
    values = rng.standard_normal((knots + 1, 1))
    for _ in range(3):
        values = double(values, 0)
    return np.interp(positions, np.linspace(0, 1, len(values)), values[:, 0])


def streaks(rng: np.random.Generator, frame: Frame, length: float, shear: float, last: int | None = None) -> Array:
    """Long thin streaks along the rows: independent across, slowly changing along, about unit variance.

    Args:
        rng: from which the values are drawn.
        frame: the picture.
        length: over which a streak changes, as a share of the shorter side.
        shear: descent of the streaks, as a tangent.
        last: finest octave across; None = down to the pixels.

    Returns:
        [H, W].
    """
    first = 3
    finest = max(math.ceil(math.log2(frame.unit)), first)
    last = finest if last is None else min(last, finest)
    height, width = frame.extent
    knots = math.ceil(width / length) + 2  # along a streak
    field = rng.standard_normal((math.ceil((height + abs(shear) * width) * 2**first) + 1, knots))
    variance = _SMOOTHED
    for octave in range(first + 1, finest + 1):
        field = double(field, 0)
        field *= _FADING
        variance *= _FADING**2
        if octave <= last:
            fresh = rng.standard_normal(field.shape)
            fresh *= 0.45 + 0.25 * np.abs(fresh)  # heavy tails: a few strokes of the brush are deeper than the others
            fresh *= 1 if octave < finest else math.sqrt(_SMOOTHED)  # as if it were smoothed, too
            field += fresh
            variance += _STROKE * _SMOOTHED
    field *= (variance * _SMOOTHED) ** -0.5
    field = double(double(field, 1), 1)
    field = resample(field, 1, 4 / length, frame.unit, frame.width)
    return _sheared(field, 2**finest, frame, shear)


def _sheared(field: Array, rows: int, frame: Frame, shear: float) -> Array:
    """Moves each column of `field`, which has `rows` rows for a length of 1, down by its own distance."""
    start = 0.0 if shear >= 0 else -shear * frame.extent[1]
    position = (frame.y + (start + shear * frame.x)) * rows
    below = position.astype(np.intp)
    position -= below
    below *= frame.width
    below += np.arange(frame.width)
    flat = field.ravel()
    lower = flat.take(below)
    below += frame.width
    upper = flat.take(below)
    upper -= lower
    upper *= position
    upper += lower
    return upper
