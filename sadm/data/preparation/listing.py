"""Any source as a listing of records, sources of arrays too: each of their images is encoded when it is looked at."""

from __future__ import annotations

import dataclasses
import functools
import io
import os
from pathlib import Path

import torch
from PIL import Image

from sadm.data.imageset import ImageSet, named_parts
from sadm.data.records import Listing, Progress, Record
from sadm.data.sources import BUILT_IN_SOURCES, list_source, open_source
from sadm.data.sources.address import parse_address
from sadm.data.sources.prepared import fingerprint
from sadm.data.sources.shards import is_pattern
from sadm.data.surfaces import is_surfaces


def listing_of(source: str, progress: Progress | None = None) -> tuple[Listing, str | None]:
    """What a source holds, record by record.

    Args:
        source: see `open_source`.
        progress: see `open_source`.

    Returns:
        The listing; and the fingerprint of a source of arrays, None where images are encoded.

    Raises:
        UserError: the source is unknown or unfit, with what to do.
    """
    listing = list_source(source, progress)
    if listing is not None:
        return listing, None
    opened = open_source(source, progress=progress)
    sets = named_parts(opened)
    records = [record for part, images in sets for record in _records(images, part)]
    return Listing(source, records, class_names=sets[0][1].class_names or None), fingerprint(opened)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a source is on this machine.

    Attributes:
        path: absolute; None for a name, which is not on this machine or part of the package.
        options: what the user typed behind the path, such as ``?rows=100``.
    """

    path: Path | None
    options: str = ""

    @classmethod
    def of(cls, source: str) -> Place:
        """The place of a source as the user named it."""
        if source in BUILT_IN_SOURCES or is_surfaces(source):
            return cls(None)
        address = parse_address(source)
        if address.hub or not (os.path.exists(address.place) or is_pattern(address.place)):
            return cls(None)
        path = Path(os.path.abspath(address.place)) if is_pattern(address.place) else address.path.resolve()
        return cls(path, source[source.index("?") :] if address.has_options else "")


def _records(images: ImageSet, part: str) -> list[Record]:
    labels = [None] * len(images) if images.labels is None else [images.class_names[c] for c in images.labels.tolist()]
    return [
        Record(
            name,
            functools.partial(_png, images.images, i),
            labels[i],
            group=None if images.groups is None else images.groups[i],
            part=part or ("" if images.parts is None else images.parts[i]),
        )
        for i, name in enumerate(images.names)
    ]


def _png(images: torch.Tensor, position: int) -> bytes:
    pixels = images[position].permute(1, 2, 0).numpy()  # [H, W, C]
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()
