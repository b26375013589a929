"""Files that hold several images: every page of a TIFF is a record of its own."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

from PIL import TiffImagePlugin

from sadm.data.decoding import opened, pillow_settings
from sadm.data.fitting import Fit
from sadm.data.records import Record, Unreadable

_EXTENSIONS = (".tif", ".tiff")
_KIND, _OLD_KIND = 254, 255  # TIFF tags: NewSubfileType (bits), SubfileType
_SMALLER_OR_MASK, _OLD_SMALLER = 0b101, 2


def with_pages(records: Iterable[Record]) -> list[Record]:
    """The records, those of TIFF files with several pages once for each page, in order.

    Only headers are read. Page n > 1 is named ``name#page=n`` by its place in the file. The pages of a file are one group,
    unless the source has grouped them already, so that they stay on one side of a split. Pages that say of themselves that
    they are smaller copies or transparency masks are left out. A file that can't be read stays one record: decoding it
    says why.
    """
    found: list[Record] = []
    with pillow_settings(Fit()):
        for record in records:
            pages = _pages(record) if _is_tiff(record) else [0]
            found += [record] if len(pages) == 1 else [_of_page(record, page) for page in pages]
    return found


def _of_page(record: Record, page: int) -> Record:
    name = f"{record.name}#page={page + 1}" if page else record.name
    group = record.name if record.group is None else record.group
    return dataclasses.replace(record, name=name, page=page, group=group)


def _is_tiff(record: Record) -> bool:
    name = record.content.name if isinstance(record.content, Path) else record.name
    return os.path.splitext(name)[1].lower() in _EXTENSIONS


def _pages(record: Record) -> list[int]:
    """Pages of a TIFF that are images in their own right; the first always is."""
    try:
        with opened(record.content) as image:
            if not isinstance(image, TiffImagePlugin.TiffImageFile):
                return [0]
            pages = [0]
            for page in range(1, image.n_frames):
                image.seek(page)
                kind, old_kind = image.tag_v2.get(_KIND, 0), image.tag_v2.get(_OLD_KIND, 0)
                if not kind & _SMALLER_OR_MASK and old_kind != _OLD_SMALLER:
                    pages.append(page)
            return pages
    except MemoryError:
        raise
    except (Unreadable, Exception):  # damaged files make Pillow raise almost any type
        return [0]
