"""A look at one record: it is read once and decoded once, whole, and never changed."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
from PIL import Image, ImageStat

from sadm.data.colour import is_wide, white_of
from sadm.data.decoding import check_size, is_turned, opened, read_mask, reason_of, upright
from sadm.data.fitting import Fit
from sadm.data.preparation.facts import SIDES, THUMB, TINT, Facts
from sadm.data.records import Record, Unreadable

_FLAT = 1.0  # standard deviation in grey levels below which nothing can be seen
_FINE = 4  # times a fingerprint's side is left of an image before the filter, whose levels are whole numbers until then
_STRIP = 64  # rows
_BITS = {"1": 1, "I": 32, "F": 32}
_TIFF_MAGIC = (b"II*\0", b"MM\0*")
_LEVELS = np.arange(256)
PLAIN = Fit()
"""Images as they are."""


class _Problem(Exception):  # noqa: N818 - a finding, not a fault of the program
    def __init__(self, key: str, detail: str) -> None:
        super().__init__(detail)
        self.key = key


def look(record: Record, known: Facts | None = None, fit: Fit = PLAIN) -> Facts:
    """Looks at one record.

    Args:
        record: of a listing.
        known: what an earlier look at a record of this name found. It is given back where the content is the same, which for
            a file is told by its size and time, so that it isn't even read.
        fit: its white level is heeded.
    """
    size, modified, digest, mask = 0, 0, "", ""
    try:
        mask = _mask_stamp(record)
        known = known if known is not None and known.mask == mask else None
        if isinstance(record.content, Path):
            size, modified = _stamp(record.content)
            if known is not None and (known.size, known.modified) == (size, modified):
                return known
        data = _content(record, (size, modified))
        size, digest = len(data), hashlib.sha256(data).hexdigest()
        if known is not None and known.sha256 == digest:
            return dataclasses.replace(known, modified=modified)
        pixels = _pixel_facts(data, record.page, fit)
        _check_mask(record, (pixels["width"], pixels["height"]))
        return Facts(record.name, size, modified, digest, mask, **pixels)
    except _Problem as problem:
        return Facts(record.name, size, modified, digest, mask, problem=problem.key, detail=str(problem))


def _stamp(path: Path) -> tuple[int, int]:
    """Size and time of a file."""
    try:
        status = os.stat(path)
    except PermissionError as error:
        raise _Problem("forbidden", reason_of(error)) from error
    except OSError as error:
        raise _Problem("missing", reason_of(error)) from error
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        raise _Problem("special_file", "not a regular file")
    return status.st_size, status.st_mtime_ns


def _content(record: Record, stamp: tuple[int, int]) -> bytes:
    if not isinstance(record.content, Path):
        try:
            data = record.content()
        except Exception as error:  # containers are read by many libraries
            raise _Problem("damaged", reason_of(error)) from error
    else:
        try:
            data = record.content.read_bytes()
        except PermissionError as error:
            raise _Problem("forbidden", reason_of(error)) from error
        except OSError as error:
            _stamp(record.content)  # gone since it was asked for its size: that may pass, and is no damage
            raise _Problem("damaged", reason_of(error)) from error
        if _stamp(record.content) != stamp or len(data) != stamp[0]:
            raise _Problem("changing", "it was written to while it was read")
    if not data:
        raise _Problem("empty", "0 bytes")
    return data


def _pixel_facts(data: bytes, page: int, fit: Fit) -> dict[str, Any]:
    with _named(data, "not_an_image"), opened(lambda: data, page) as image:
        with _named(data, "too_large"):
            check_size(image)
        facts = {
            "mode": image.mode,
            "bits": _bits(image),
            "frames": getattr(image, "n_frames", 1),
            "turned": is_turned(image),
            "profile": _is_foreign(image.info.get("icc_profile")),
            "alpha": image.has_transparency_data,
        }
        with _named(data, "odd_channels"):
            plain, _ = upright(image, fit)
        if image.mode.startswith("I;16") and white_of(image, fit.white_level) == fit.white_level:
            facts["peak"] = int(np.asarray(image).max(initial=0))
    return facts | _measures(plain)


@contextlib.contextmanager
def _named(data: bytes, unreadable: str) -> Iterator[None]:
    """Gives whatever a decoder raises a key, `unreadable` to what the decoder's own checks refuse."""
    try:
        yield
    except (_Problem, MemoryError):
        raise
    except Exception as error:  # damaged files make Pillow's decoders raise almost any type
        key, detail = "damaged", reason_of(error)
        if isinstance(error, Unreadable):
            key = unreadable
        elif isinstance(error, Image.DecompressionBombError):
            key = "too_large"
        if key in ("damaged", "not_an_image") and _is_cut(data):
            key, detail = "truncated", "the file ends before its header says"
        elif key == "damaged" and "truncated" in detail:
            key = "truncated"
        raise _Problem(key, detail) from error


def _mask_stamp(record: Record) -> str:
    """What tells whether a mask is still the same."""
    if record.mask is None:
        return ""
    try:
        if isinstance(record.mask, Path):
            return "{} {}".format(*_stamp(record.mask))
        return hashlib.sha256(record.mask()).hexdigest()
    except Exception as error:  # containers are read by many libraries
        raise _Problem("bad_mask", str(error) if isinstance(error, _Problem) else reason_of(error)) from error


def _check_mask(record: Record, size: tuple[int, int]) -> None:
    if record.mask is None:
        return
    try:
        mask, _ = read_mask(record)
    except Exception as error:  # damaged files make Pillow's decoders raise almost any type
        raise _Problem("bad_mask", reason_of(error)) from error
    if mask.size != size:
        raise _Problem("bad_mask", f"{mask.width} x {mask.height} pixels, the image {size[0]} x {size[1]}")


def _is_cut(data: bytes) -> bool:
    """Whether the header promises more bytes than there are, where the decoder does not say so itself."""
    if data[:4] == b"RIFF":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if data[:4] in _TIFF_MAGIC:
        order = "little" if data[:2] == b"II" else "big"
        return int.from_bytes(data[4:8], order) + 2 > len(data)  # type: ignore[arg-type]
    return False


def _bits(image: Image.Image) -> int:
    """Of each channel, in an image that is opened but not loaded."""
    if image.mode.startswith("I;16") or is_wide(image):
        return 16
    return _BITS.get(image.mode, 8)


def _is_foreign(profile: Any) -> bool:
    """Whether a colour profile is another than sRGB, by the name within."""
    if not isinstance(profile, bytes) or not profile:
        return False
    return b"sRGB" not in profile and "sRGB".encode("utf-16-be") not in profile


def _measures(plain: Image.Image) -> dict[str, Any]:
    """What the pixels tell.

    Args:
        plain: mode L or RGB.
    """
    grey = plain if plain.mode == "L" else plain.convert("L")
    brightness, contrast = _moments(grey)
    # Of Pillow's filters, copies of another size or quality differ least by the bicubic one: docs/prepare.md.
    thumb = np.asarray(_shrunk(grey, "F", THUMB, Image.Resampling.BICUBIC))
    low, high = float(thumb.min()), float(thumb.max())
    thumb = np.rint((thumb - low) * (255 / max(high - low, 1e-3))).astype(np.uint8)
    tint = np.asarray(_shrunk(plain, "YCbCr", TINT, Image.Resampling.BOX))[..., 1:]
    return {
        "width": plain.width,
        "height": plain.height,
        "pixels": _pixel_digest(plain),
        "brightness": round(brightness, 2),
        "contrast": round(contrast, 2),
        "flat": contrast < _FLAT and max(ImageStat.Stat(plain).stddev) < _FLAT,
        "kept": _kept(grey),
        "phash": str(imagehash.phash(Image.fromarray(thumb))),
        "thumb": thumb.tobytes(),
        "tint": tint.transpose(2, 0, 1).tobytes(),
    }


def _pixel_digest(plain: Image.Image) -> str:
    """SHA-256 of size and RGB values, strip by strip: a scan of 100 megapixels need not be there twice."""
    digest = hashlib.sha256(f"{plain.width} x {plain.height}\n".encode())
    for top in range(0, plain.height, _STRIP):
        strip = plain.crop((0, top, plain.width, min(top + _STRIP, plain.height)))
        digest.update((strip if strip.mode == "RGB" else strip.convert("RGB")).tobytes())
    return digest.hexdigest()


def _shrunk(image: Image.Image, mode: str, side: int, resampling: Image.Resampling) -> Image.Image:
    """[side, side] in another mode, averaged over whole blocks first as long as `_FINE` times the side is left."""
    across, down = (max(length // (_FINE * side), 1) for length in image.size)
    box = (0.0, 0.0, image.width / across, image.height / down)  # the last blocks may be cut
    if (across, down) != (1, 1):
        image = image.reduce((across, down))
    return image.convert(mode).resize((side, side), resampling, box)


def _moments(grey: Image.Image) -> tuple[float, float]:
    """Mean and standard deviation of the grey levels."""
    counts = np.asarray(grey.histogram(), dtype=np.float64)
    mean = float(counts @ _LEVELS / counts.sum())
    return mean, float(np.sqrt(counts @ (_LEVELS - mean) ** 2 / counts.sum()))


def _kept(grey: Image.Image) -> tuple[float, ...]:
    side = min(grey.size)
    sides = [s for s in SIDES if s < side]
    if not sides:
        return ()
    left, top = (grey.width - side) // 2, (grey.height - side) // 2
    square = grey.crop((left, top, left + side, top + side))
    whole = _moments(square)[1] ** 2
    if whole < _FLAT**2:
        return ()
    averaged = square.resize((sides[-1], sides[-1]), Image.Resampling.BOX, reducing_gap=2.0)
    levels = np.asarray(averaged, dtype=np.float32)
    shares = []
    for s in reversed(sides):
        levels = levels.reshape(s, len(levels) // s, s, -1).mean(axis=(1, 3))
        shares.append(round(min(1.0, float(levels.var()) / whole), 4))
    return tuple(reversed(shares))
