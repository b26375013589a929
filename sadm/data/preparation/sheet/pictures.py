"""Small pictures of records, embedded as JPEG."""

from __future__ import annotations

import base64
import io
import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from sadm.data.decoding import check_size, opened, pillow_settings, upright
from sadm.data.fitting import Fit
from sadm.data.records import Record

SIDE = 128  # pixels on the larger side
_QUALITY = 80


def pictures(records: Sequence[Record], positions: Iterable[int], fit: Fit) -> Mapping[int, str]:
    """Data URIs by position; a record that has become unreadable is left out.

    Args:
        records: all.
        positions: of those that are wanted, in any order, repeated or not.
        fit: its limit on pixels and its white level are heeded.
    """
    wanted = sorted(set(positions))
    with pillow_settings(fit), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        made = pool.map(_uri, [records[i] for i in wanted], itertools.repeat(fit))
        return {i: uri for i, uri in zip(wanted, made, strict=True) if uri}


def _uri(record: Record, fit: Fit) -> str:
    try:
        with opened(record.content, record.page) as image:
            check_size(image)
            image.draft(None, (2 * SIDE, 2 * SIDE))
            picture, _ = upright(image, fit)
    except MemoryError:
        raise
    except Exception:  # damaged files make Pillow's decoders raise almost any type
        return ""
    picture.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
