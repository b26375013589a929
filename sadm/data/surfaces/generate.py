"""One inspection photograph from a seed and an index."""

from __future__ import annotations

import dataclasses
import difflib
import math
import operator
from collections.abc import Callable, Sequence
from typing import SupportsIndex

import numpy as np

from sadm.core.errors import UserError
from sadm.data.surfaces.camera import camera
from sadm.data.surfaces.casting import casting
from sadm.data.surfaces.change import Change
from sadm.data.surfaces.defects import crack, dent, scratch, stain
from sadm.data.surfaces.fabric import fabric
from sadm.data.surfaces.metal import metal
from sadm.data.surfaces.missing import missing
from sadm.data.surfaces.photograph import photograph
from sadm.data.surfaces.scene import Frame, Ground, Light, Stream, in_bands, stream_of

_GROUNDS: dict[str, Callable[[Stream, Frame, Light], Ground]] = {"metal": metal, "fabric": fabric, "casting": casting}
_DEFECTS: dict[str, Callable[[Stream, Frame, Ground, Light, float], Change]] = {
    "scratch": scratch,
    "dent": dent,
    "stain": stain,
    "crack": crack,
    "missing": missing,
}

GOOD = "good"
"""Class of the images without a defect."""
SURFACE_CLASSES = (GOOD, *_DEFECTS)
MATERIALS = tuple(_GROUNDS)
SIZES = (16, 8192)
"""Smallest and largest side in pixels."""


@dataclasses.dataclass(frozen=True, eq=False)
class Surface:
    """An inspection photograph.

    Attributes:
        image: [C, H, W], uint8.
        mask: what the defect changed [1, H, W], uint8, 0 or 255.
        material: one of `MATERIALS`.
        defect: one of `SURFACE_CLASSES`.
        severity: of the defect, in (0, 1]; 0 without one.
        label: index of `defect` in `SURFACE_CLASSES`.
        light: direction towards the lamp within the picture: to the right and downwards, of length 1.
    """

    image: np.ndarray
    mask: np.ndarray
    material: str
    defect: str
    severity: float
    label: int
    light: tuple[float, float]


def surface(
    index: int,
    seed: int = 0,
    size: int | tuple[int, int] = 64,
    material: str | None = None,
    defect: str | None = None,
    severity: float | None = None,
    channels: int = 1,
    defects: float = 0.5,
) -> Surface:
    """Makes one photograph of a brushed metal, a fabric or a casting, with a defect or without.

    It depends on the arguments alone: not on the other images, their order, or the process. What is given replaces what
    would have been drawn and changes nothing else, so that the same index with `defect="good"` is the same surface before
    it was damaged. Places and sizes of light, texture and defect are shares of the picture's shorter side: at another size
    the same index is the same scene, sampled otherwise, with finer grain where there are more pixels. Threads of fabric are
    the exception: their number grows with size**0.75, as if a larger picture showed more of the cloth.

    Args:
        index: which photograph, from 0 on.
        seed: of the sequence of photographs.
        size: side in pixels, or height and width.
        material: one of `MATERIALS`; None draws it.
        defect: one of `SURFACE_CLASSES`; None draws it.
        severity: of the defect, in (0, 1]: its size and contrast; None draws it uniformly. Good surfaces have none.
        channels: 1 (grey) or 3 (RGB).
        defects: share of the images that get a defect where it is drawn, in [0, 1].

    Raises:
        UserError: an argument is out of range.
    """
    index, seed = _whole("index", index, 0, None), _whole("seed", seed, None, None)
    frame = _frame(size)
    check_choice("material", material, MATERIALS)
    check_choice("defect", defect, SURFACE_CLASSES)
    check_range("defects", defects, 0, 1, "a share from 0 to 1, such as 0.3")
    if severity is not None and not 0 < severity <= 1:
        raise UserError(f"severity is {severity}; expected a number above 0 and at most 1, such as 0.5.")
    if channels not in (1, 3):
        raise UserError(f"channels is {channels}; expected 1 (grey) or 3 (RGB).")
    stream = stream_of(seed, index)
    rng = stream("scene")
    azimuth, elevation, brightness, which, damaged, kind, grade = rng.random(7)
    if material is None:
        material = MATERIALS[int(which * len(MATERIALS))]
    if defect is None:
        defect = tuple(_DEFECTS)[int(kind * len(_DEFECTS))] if damaged < defects else GOOD
    severity = 0.0 if defect == GOOD else float(1 - grade if severity is None else severity)
    azimuth *= 2 * math.pi
    light = Light(math.cos(azimuth), math.sin(azimuth), 0.4 + 0.45 * elevation)
    ground = _GROUNDS[material](stream, frame, light)
    radiance = in_bands(ground, frame.whole)
    lens = camera(rng, frame, light, radiance, 0.38 + 0.24 * brightness)
    change = None if defect == GOOD else _DEFECTS[defect](stream, frame, ground, light, severity)
    image, mask = photograph(ground, radiance, lens, change, channels, frame)
    return Surface(image, mask, material, defect, severity, SURFACE_CLASSES.index(defect), (light.x, light.y))


def check_choice(name: str, value: str | None, choices: Sequence[str]) -> None:
    """Raises a `UserError` unless `value` is None or among the choices; it names the nearest one."""
    if value is not None and value not in choices:
        near = difflib.get_close_matches(str(value).lower(), choices, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise UserError(f"{name} is '{value}'; expected one of {', '.join(choices)}.{hint}")


def check_range(name: str, value: float, low: float, high: float, expected: str) -> None:
    """Raises a `UserError` unless `value` is from `low` to `high`."""
    if not low <= value <= high:
        raise UserError(f"{name} is {value}; expected {expected}.")


def _frame(size: int | tuple[int, int]) -> Frame:
    sides = size if isinstance(size, tuple | list) else (size, size)
    if len(sides) != 2:
        raise UserError(f"size is {size}; expected a side in pixels, or (height, width).")
    return Frame(*(_whole("size", side, *SIZES) for side in sides))


def _whole(name: str, value: SupportsIndex, low: int | None, high: int | None) -> int:
    """A whole number, also of numpy's or torch's kinds."""
    try:
        number = operator.index(value)
    except TypeError:
        raise UserError(f"{name} is {value!r}; expected a whole number.") from None
    if (low is not None and number < low) or (high is not None and number > high):
        span = f"from {low} to {high}" if high is not None else f"of at least {low}"
        raise UserError(f"{name} is {number}; expected a whole number {span}.")
    return number
