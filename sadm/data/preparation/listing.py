"""Any source as a listing of records, sources of arrays too: each of their images is encoded when it is looked at."""

from __future__ import annotations

import functools
import io
import os
from pathlib import Path

import torch
from PIL import Image

from sadm.data.imageset import ImageSet
from sadm.data.prepared import fingerprint
from sadm.data.records import Listing, Progress, Record
from sadm.data.sources import list_source, open_source


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
    sets = [(opened, "")] if isinstance(opened, ImageSet) else [(opened.train, "train"), (opened.held_out, "held_out")]
    records = [record for images, part in sets for record in _records(images, part)]
    return Listing(source, records, class_names=sets[0][0].class_names or None), fingerprint(opened)


def place_of(source: str) -> Path | None:
    """Where a source lies on this machine, absolute; None for a name."""
    path = Path(os.path.expanduser(source))
    return path.resolve() if os.path.exists(path) else None


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
