"""``surfaces`` as a source: many photographs in memory, and the settings that a user writes into the word."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from sadm.core.errors import UserError
from sadm.data.arrays import to_channels
from sadm.data.fitting import Fit
from sadm.data.imageset import ImageSet
from sadm.data.records import Progress
from sadm.data.surfaces.generate import MATERIALS, SIZES, SURFACE_CLASSES, check_choice, check_range, surface

WORD = "surfaces"
ATTRIBUTE_NAMES = (*(f"material_{name}" for name in MATERIALS), "severity")
_SIDE = 64  # unless something else is asked for
_THREADS_FROM = 128  # side of pictures so large that threads do not wait for the interpreter


@dataclasses.dataclass(frozen=True)
class SurfaceSettings:
    """What can be written into the word, such as ``surfaces:count=500,material=metal``.

    Attributes:
        count: how many photographs, at least 2.
        seed: of their sequence.
        material: one of `MATERIALS`; None = all of them.
        size: side in pixels; None = ``--data.resolution``, or 64.
        defects: share of the photographs that show a defect, in [0, 1].

    Raises:
        UserError: a value is out of range.
    """

    count: int = 2000
    seed: int = 0
    material: str | None = None
    size: int | None = None
    defects: float = 0.5

    def __post_init__(self) -> None:
        if self.count < 2:
            raise UserError(
                f"count is {self.count}; expected at least 2 images, since training relates them to each other."
            )
        check_choice("material", self.material, MATERIALS)
        check_range("defects", self.defects, 0, 1, "a share from 0 to 1, such as 0.3")
        if self.size is not None:
            check_range("size", self.size, *SIZES, f"a side from {SIZES[0]} to {SIZES[1]} pixels")


_READERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "count": (int, "a whole number, such as 500"),
    "seed": (int, "a whole number, such as 1"),
    "material": (str, "a material"),
    "size": (int, "a side in pixels, such as 64"),
    "defects": (float, "a share from 0 to 1, such as 0.3"),
}
_EXAMPLE = f"{WORD}:count=500,seed=1,material=metal,size=64,defects=0.3"


def is_surfaces(source: str) -> bool:
    """Whether the user's words mean this source."""
    return source.partition(":")[0] == WORD


def open_surfaces(source: str, fit: Fit, progress: Progress | None = None) -> ImageSet:
    """Makes inspection photographs with labels, masks and attributes (material and severity).

    Image i is `surface(i, seed, ...)`, however many there are.

    Args:
        source: the word ``surfaces``, alone or with settings (see `SurfaceSettings`) as in
            ``surfaces:count=500,seed=1,material=metal,size=64,defects=0.3``.
        fit: resolution (64 if it is open) and channels (1 if they are open; 4 = opaque colour).
        progress: called with (images made, images in all).

    Raises:
        UserError: a setting is unknown or out of range, sizes contradict each other, or `fit` is for files.
    """
    settings = parse_settings(source)
    fit.check_array(f"{source} makes images of the size that is asked for")
    if None not in (settings.size, fit.resolution) and settings.size != fit.resolution:
        raise UserError(
            f"{source}: size={settings.size} contradicts --data.resolution {fit.resolution}, which a fine-tuning takes from its "
            "model. Give one of them: the images are made at any size."
        )
    size, channels = settings.size or fit.resolution or _SIDE, min(fit.channels or 1, 3)
    check_range("--data.resolution", size, *SIZES, f"a side from {SIZES[0]} to {SIZES[1]} pixels for the surfaces")
    _check_memory(source, settings.count, size, channels)
    images = torch.empty(settings.count, channels, size, size, dtype=torch.uint8)
    masks = torch.empty(settings.count, 1, size, size, dtype=torch.uint8)
    attributes = torch.zeros(settings.count, len(ATTRIBUTE_NAMES))
    labels = torch.empty(settings.count, dtype=torch.int64)

    def make(i: int) -> None:
        made = surface(i, settings.seed, size, settings.material, channels=channels, defects=settings.defects)
        images[i], masks[i] = torch.from_numpy(made.image), torch.from_numpy(made.mask)
        labels[i] = made.label
        attributes[i, MATERIALS.index(made.material)] = 1
        attributes[i, -1] = made.severity

    with ThreadPoolExecutor(1 if size < _THREADS_FROM else os.cpu_count() or 1) as pool:
        try:
            for done, _ in enumerate(pool.map(make, range(settings.count)), 1):
                if progress is not None:
                    progress(done, settings.count)
        finally:
            pool.shutdown(cancel_futures=True)
    return ImageSet(
        images=to_channels(images, fit.channels),
        labels=labels,
        class_names=SURFACE_CLASSES,
        names=tuple(f"{WORD}/{i}" for i in range(settings.count)),
        source=source,
        attributes=attributes,
        attribute_names=ATTRIBUTE_NAMES,
        masks=masks,
    )


def _check_memory(source: str, count: int, size: int, channels: int) -> None:
    needed = count * (channels + 1) * size**2
    present = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > present:
        raise UserError(
            f"{source}: {count} images of {size} x {size} pixels with their masks take {needed / 1e9:.3g} GB; this machine has "
            f"{present / 1e9:.3g} GB of memory. Lower count or size."
        )


def parse_settings(source: str) -> SurfaceSettings:
    """Reads the settings in ``surfaces:key=value,…``.

    Raises:
        UserError: a key is unknown or given twice, or a value is no number or out of range.
    """
    _, colon, text = source.partition(":")
    values: dict[str, Any] = {}
    for part in text.split(",") if colon else ():
        key, equals, value = (word.strip() for word in part.partition("="))
        if key not in _READERS:
            near = difflib.get_close_matches(key.lower(), _READERS, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise UserError(
                f"'{source}': there is no setting '{key}' among {', '.join(_READERS)}.{hint} Example: {_EXAMPLE}"
            )
        read, expected = _READERS[key]
        if key in values:
            raise UserError(f"'{source}' gives {key} twice. Leave one out.")
        try:
            values[key] = read(value)
        except ValueError:
            given = f"'{value}'" if equals else "nothing"
            raise UserError(f"'{source}': {key} is {given}; expected {expected}. Example: {_EXAMPLE}") from None
    try:
        return SurfaceSettings(**values)
    except UserError as error:
        raise UserError(f"'{source}': {error}") from error
