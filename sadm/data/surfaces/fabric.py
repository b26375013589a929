"""Woven fabric: plain weave and twills, of threads that differ, seen slightly askew."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from sadm.data.surfaces.noise import octaves
from sadm.data.surfaces.scene import Array, Frame, Light, Stream, Window, tinted

_THREADS = 1 << 9  # entries of the tables of threads
_FIRST = 1 << 14  # number of the threads in the middle of a picture, so that no number is negative
_FIBRES = 1 << 6  # side of the table of fibres
_DYES = {"white": (1.0, 1.0, 1.0), "blue": (0.82, 0.98, 1.3), "sand": (1.12, 1.0, 0.78), "olive": (0.95, 1.04, 0.92)}


class Weave:
    """Which thread lies on top where warp column i crosses weft row j: decided by the phase (i - j) mod the period.

    Attributes:
        last_phase: the period, a power of two, less one.
        top: for each phase, whether the warp is on top.
        begun: how many crossings ago the thread on top came up.
        length: how many crossings it stays up.
    """

    def __init__(self, *top: bool) -> None:
        period = len(top)
        begun, length = np.zeros(period), np.zeros(period)
        for phase, warp in enumerate(top):
            back = 1 if warp else -1  # along a warp thread the phase falls, along a weft thread it rises
            before, after = (_run(top, phase, step) for step in (back, -back))
            begun[phase], length[phase] = before, before + 1 + after
        self.last_phase = period - 1
        self.top = np.array(top)
        self.begun = begun
        self.length = length


def _run(top: tuple[bool, ...], phase: int, step: int) -> int:
    """How many phases on in steps the same thread stays on top."""
    count = 0
    while top[(phase + step * (count + 1)) % len(top)] == top[phase]:
        count += 1
    return count


WEAVES = {
    "plain": Weave(True, False),
    "twill 2/2": Weave(True, True, False, False),
    "twill 3/1": Weave(True, True, True, False),
}


@dataclasses.dataclass(frozen=True)
class Gap:
    """Neighbouring threads that are missing over some length; places and numbers as in `Fabric`.

    Attributes:
        warp: whether they belong to the warp.
        first, last: number of the first and the last of them.
        start, end: from where to where, along them.
    """

    warp: bool
    first: int
    last: int
    start: float
    end: float

    def depth(self, warp: Array, weft: Array) -> Array:
        """How deep in the gap each place lies, from 0 (outside it) to 1."""
        across, along = (warp, weft) if self.warp else (weft, warp)
        away = (2 / (self.last + 1 - self.first)) * (across - (self.first + self.last + 1) / 2)
        inside = (along >= self.start) & (along < self.end)
        return inside * np.maximum(1 - np.square(np.square(away)), 0)


@dataclasses.dataclass(frozen=True, eq=False)
class Fabric:
    """A cloth.

    Attributes:
        light: the lamp, in directions of weft and warp.
        tint: see `Ground`.
        warp, weft: place of each pixel, counted in warp threads and in weft threads [H, W]; thread n is at n to n + 1.
        weave: how they cross.
        tones: brightness of the warp threads and of the weft threads [2, n], by number modulo n.
        widths: of the threads, as factors on how fast they fall off sideways [2, n].
        fibres: the yarn's surface, a table of random numbers.
        fibre: how much of it is seen.
        gap_light: what is seen between threads, as a share.
        pitch: distance of threads, in pixels.
        turn: angle of the weft within the picture, in radians.
        gap: missing threads.
    """

    light: Light
    tint: Array
    warp: Array
    weft: Array
    weave: Weave
    tones: Array
    widths: Array
    fibres: Array
    fibre: float
    gap_light: float
    pitch: float
    turn: float
    gap: Gap | None = None
    material: str = "fabric"

    def radiance(
        self, window: Window, slope_y: Array | float = 0.0, slope_x: Array | float = 0.0, gloss: Array | float = 1.0
    ) -> Array:
        warp, weft = self.warp[window], self.weft[window]
        i, j = warp.astype(np.intp), weft.astype(np.intp)
        phase = (i - j) & self.weave.last_phase
        top = self.weave.top.take(phase)
        length = self.weave.length.take(phase)
        depth = None if self.gap is None else self.gap.depth(warp, weft)
        if depth is not None and self.gap is not None:
            top = np.where(depth > 0, not self.gap.warp, top)
        in_warp, in_weft = warp - i, weft - j
        across = np.where(top, in_warp, in_weft) - 0.5
        along = np.where(top, in_weft, in_warp)
        along += self.weave.begun.take(phase)
        along /= length
        along -= 0.5
        if depth is not None:
            along[depth > 0] = 0  # bare threads lie straight
        thread = np.where(top, i & (_THREADS - 1), (j & (_THREADS - 1)) + _THREADS)
        tone = self.tones.take(thread)
        across *= self.widths.take(thread)
        # A round body, which dips under its neighbours at both ends of the float.
        sideways, lengthways = -2.2 * across, -1.1 * along
        light = self.light.lambert(
            np.where(top, lengthways, sideways) + slope_y, np.where(top, sideways, lengthways) + slope_x
        )
        light += 1
        light *= 0.5 * tone
        if self.fibre:
            light *= self._yarn(across, along * length, np.where(top, weft, warp), thread)
        body = 1 - 2.9 * across * across - 2.0 * along * along
        np.maximum(body, 0, out=body)
        body *= 1 - self.gap_light
        body += self.gap_light
        light *= body
        if depth is not None:
            light *= 1 - 0.5 * depth
        return light

    def _yarn(self, across: Array, along: Array, place: Array, thread: Array) -> Array:
        """Fibres run along the yarn and are twisted around it."""
        row = (9 * across + 3.2 * along + thread * 8.7).astype(np.intp) & (_FIBRES - 1)
        column = (2.5 * place + 0.5 * across).astype(np.intp) & (_FIBRES - 1)
        return 1 + self.fibre * self.fibres.take(row * _FIBRES + column)


def fabric(stream: Stream, frame: Frame, light: Light) -> Fabric:
    """Draws a cloth."""
    rng = stream("fabric")
    kind, turn, lean_y, lean_x, count, ratio, uneven, denim, tone, dye, gap_light = rng.random(11)
    weave = WEAVES[("plain", "plain", "twill 2/2", "twill 3/1")[int(4 * kind)]]
    tones = np.exp((0.03 + 0.07 * uneven) * rng.standard_normal((2, _THREADS)))
    tones *= 0.45 + 0.35 * tone
    if denim < 0.4:  # warp and weft of different colours
        tones[0] *= 0.62
    widths = 0.98 + 0.10 * rng.standard_normal((2, _THREADS)).clip(-2, 2)
    # A larger picture is taken from further away: the number of threads grows, but not their sharpness alone.
    threads = (9 + 5 * count) * (frame.unit / 64) ** 0.75
    pitch = frame.unit / threads
    turn = 0.14 * (2 * turn - 1)
    cos, sin = math.cos(turn), math.sin(turn)
    far = 1 + 0.16 * (lean_y - 0.5) * (frame.y - frame.extent[0] / 2)
    far = threads / (far + 0.16 * (lean_x - 0.5) * (frame.x - frame.extent[1] / 2))  # threads per length
    places = []
    for right, down, density in ((cos, sin, 1.0), (-sin, cos, 0.85 + 0.3 * ratio)):
        place = octaves(rng, frame, 2, 0.5, last=3)
        place *= 0.05 + 0.14 * uneven
        place += far * (
            density * right * (frame.x - frame.extent[1] / 2) + density * down * (frame.y - frame.extent[0] / 2)
        )
        place += _FIRST
        places.append(place)
    return Fabric(
        light=Light(light.x * cos + light.y * sin, light.y * cos - light.x * sin, max(light.elevation, 0.6)),
        tint=tinted(*tuple(_DYES.values())[int(dye * len(_DYES))]),
        warp=places[0],
        weft=places[1],
        weave=weave,
        tones=tones,
        widths=widths,
        fibres=stream("fibres").standard_normal(_FIBRES * _FIBRES) if pitch > 5 else np.zeros(1),
        fibre=0.18 * min(max((pitch - 5) / 6, 0.0), 1.0),
        gap_light=0.1 + 0.3 * gap_light,
        pitch=pitch,
        turn=turn,
    )
