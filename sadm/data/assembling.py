"""From decoded records to an image set."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import torch

from sadm.core.errors import UserError
from sadm.data.decoding import Decoded
from sadm.data.imageset import ImageSet, Note, Skipped
from sadm.data.ragged import Ragged
from sadm.data.records import Listing, Record


@dataclasses.dataclass
class Readable:
    """The records of a listing that can be used, with what each gave: one picture, or several tiles.

    Attributes:
        listing: that they are from.
        records: in its order.
        decoded: for each record.
        skipped: what can't be used.
        clean_class: see `Fit.clean_class`.
    """

    listing: Listing
    records: list[Record]
    decoded: list[Decoded]
    skipped: tuple[Skipped, ...]
    clean_class: str | None

    @property
    def of_each(self) -> list[int]:
        """For each picture, the position of its record."""
        return [i for i, one in enumerate(self.decoded) for _ in one.fitted.pixels]


def image_set(readable: Readable, channels: int, class_names: tuple[str, ...], frame: int | None = None) -> ImageSet:
    """The image set; empties `readable.decoded`, so that pixels are not held in memory twice.

    Args:
        readable: at least one record; all pictures of one size, unless there is a frame.
        channels: of the images.
        class_names: of all classes; see `class_names_of`.
        frame: side of the square that images of several sizes are resized to (see `Fit.frame`).
    """
    described: dict[str, Any] = {
        "labels": _labels(readable, class_names),
        "names": _names(readable),
        "notes": (
            *readable.listing.notes,
            *(
                Note(record.name, text)
                for record, one in zip(readable.records, readable.decoded, strict=True)
                for text in one.notes
            ),
        ),
        "masks": _masks(readable),
        "uncropped": _uncropped(readable, channels),
        **_knowledge(readable),
    }
    if frame is None:
        described["images"] = _stacked(readable, channels)
    else:
        shaped = _shaped(readable, channels)
        described.update(shaped=shaped, images=shaped.resized((frame, frame)))
    return ImageSet(
        class_names=class_names,
        source=readable.listing.source,
        skipped=readable.skipped,
        **described,
    )


def fewest_channels(readable: Readable) -> int:
    """1 where no pixel carries colour, neither in the pictures nor in what windows are drawn from, else 3."""
    wholes = (one.fitted.whole[None] for one in readable.decoded if one.fitted.whole is not None)
    pictures = itertools.chain((one.fitted.pixels for one in readable.decoded), wholes)
    return 1 if all(map(_is_grey, pictures)) else 3


def class_names_of(readable: Readable) -> tuple[str, ...]:
    """All classes in the order of their indices: those of the listing, or those that there are, sorted; none without classes.

    Raises:
        UserError: a class for clean pictures is named, but the source has no classes.
    """
    used = {record.class_name for record in readable.records if record.class_name is not None}
    clean = readable.clean_class
    if not used:
        if clean is not None:
            raise UserError(
                f"--data.clean-class is '{clean}', but {readable.listing.source} has no classes. Sort its images into one "
                "folder for each class."
            )
        return ()
    fixed = readable.listing.class_names
    if fixed is not None:
        return fixed if clean is None or clean in fixed else (*fixed, clean)
    return tuple(sorted({name for name in _class_of_each(readable) if name is not None}))


def _class_of_each(readable: Readable) -> list[str | None]:
    classes: list[str | None] = []
    for record, one in zip(readable.records, readable.decoded, strict=True):
        marked, count = one.fitted.marked, len(one.fitted.pixels)
        if readable.clean_class is None or marked is None:
            classes += [record.class_name] * count
        else:
            classes += [record.class_name if any_of_it else readable.clean_class for any_of_it in marked]
    return classes


def _labels(readable: Readable, class_names: tuple[str, ...]) -> torch.Tensor | None:
    if not class_names:
        return None
    number = {name: i for i, name in enumerate(class_names)}
    return torch.tensor([number[str(name)] for name in _class_of_each(readable)], dtype=torch.int64)


def _names(readable: Readable) -> tuple[str, ...]:
    names = []
    for record, one in zip(readable.records, readable.decoded, strict=True):
        tiles = one.fitted.tiles
        # A page's name has a # already: its tile is at scan.tif#page=2,x=128,y=64.
        mark = "," if "#page=" in record.name else "#"
        names += [record.name] if tiles is None else [f"{record.name}{mark}x={t.left},y={t.top}" for t in tiles]
    return tuple(names)


def _knowledge(readable: Readable) -> dict[str, Any]:
    """Groups, parts, attributes and tiles, each only where there are any."""
    known: dict[str, Any] = {}
    records, rows = readable.records, readable.of_each
    tiles = [tile for one in readable.decoded for tile in one.fitted.tiles or ()]
    if tiles:
        known["tiles"] = tuple(tiles)
    if tiles or any(record.group is not None for record in records):
        known["groups"] = tuple(records[i].name if records[i].group is None else str(records[i].group) for i in rows)
    if any(record.part for record in records):
        known["parts"] = tuple(records[i].part for i in rows)
    names = tuple(dict.fromkeys(name for record in records for name in record.attributes))
    if names:
        values = [[record.attributes.get(name, float("nan")) for name in names] for record in records]
        known.update(attributes=torch.tensor(values, dtype=torch.float32)[rows], attribute_names=names)
    return known


def _masks(readable: Readable) -> torch.Tensor | None:
    """[N, 1, H, W]; nothing is marked in images without a mask. None where none has one."""
    fitted = [one.fitted for one in readable.decoded]
    if all(one.masks is None for one in fitted):
        return None
    size = next(one.masks.shape[1:3] for one in fitted if one.masks is not None)
    masks = torch.zeros(len(readable.of_each), 1, *size, dtype=torch.uint8)
    start = 0
    for one in fitted:
        if one.masks is not None:
            masks[start : start + len(one.masks), 0] = torch.from_numpy(one.masks)
        start += len(one.pixels)
    return masks


def _uncropped(readable: Readable, channels: int) -> Ragged | None:
    wholes = [one.fitted.whole for one in readable.decoded if one.fitted.whole is not None]
    return Ragged.of([_planes(whole[None], channels)[0] for whole in wholes]) if wholes else None


def _shaped(readable: Readable, channels: int) -> Ragged:
    """Pictures of several sizes."""
    sizes = torch.tensor([one.fitted.pixels.shape[1:3] for one in readable.decoded])
    lengths = channels * sizes.prod(1)
    ragged = Ragged(torch.empty(int(lengths.sum()), dtype=torch.uint8), lengths.cumsum(0) - lengths, sizes, channels)
    while readable.decoded:
        place = len(readable.decoded) - 1
        ragged[place].copy_(_planes(readable.decoded.pop().fitted.pixels, channels)[0])
    return ragged


def _stacked(readable: Readable, channels: int) -> torch.Tensor:
    """[N, C, H, W] uint8."""
    end = len(readable.of_each)
    stacked = torch.empty(end, channels, *readable.decoded[0].fitted.pixels.shape[1:3], dtype=torch.uint8)
    while readable.decoded:
        pixels = readable.decoded.pop().fitted.pixels
        stacked[end - len(pixels) : end] = _planes(pixels, channels)
        end -= len(pixels)
    return stacked


def _planes(pixels: np.ndarray, channels: int) -> torch.Tensor:
    """[n, C, H, W] from [n, H, W] or [n, H, W, 3 | 4]."""
    planes = torch.from_numpy(np.ascontiguousarray(pixels))
    if planes.ndim == 3:
        return planes[:, None].expand(-1, channels, -1, -1)
    return planes.permute(0, 3, 1, 2)[:, :channels]  # grey in RGB: any channel will do


def _is_grey(pixels: np.ndarray) -> bool:
    """Whether images of [n, H, W] or [n, H, W, 3] carry no colour, judged by their pixels."""
    if pixels.ndim == 3:
        return True
    return bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all())
