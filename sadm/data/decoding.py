"""One encoded image to pixels: upright, 8 bits, grey, RGB or RGBA in sRGB, with its mask; or the reason why not."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import stat
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from sadm.data.colour import is_wide, to_plain
from sadm.data.fitting import Fit, Fitted
from sadm.data.masks import to_mask
from sadm.data.records import Content, Record, Unreadable

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"})

# Named, so that a file renamed to .png cannot reach decoders that start other programs (EPS) or are rarely exercised.
# JPEG stands for MPO too, the two-picture JPEG of some cameras.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")

_ORIENTATION = 0x0112  # EXIF tag
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


_Read = tuple[Image.Image, list[str]]


@dataclasses.dataclass(frozen=True)
class Decoded:
    """What one record gives.

    Attributes:
        fitted: its pictures in the shape that was asked for; several where it was cut into tiles.
        notes: what was done to it, as short texts.
    """

    fitted: Fitted
    notes: tuple[str, ...]


@contextlib.contextmanager
def pillow_settings(fit: Fit) -> Iterator[None]:
    """Pillow as decoding needs it, whatever the program around has set; use around all threads that call `decode`.

    Its warnings are silenced, since `decode` judges what they announce (huge images, broken metadata). Truncated files stay
    errors. Its limit on pixels makes way for that of `fit`. Decoders register here, rather than in several threads at once.
    """
    limit, lenient = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", module=r"PIL\.")
        Image.init()
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        if fit.max_megapixels is not None:
            Image.MAX_IMAGE_PIXELS = round(fit.max_megapixels * 1e6)
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = limit, lenient


def decode(record: Record, fit: Fit) -> Decoded:
    """Decodes one record and brings it into shape.

    EXIF rotation is applied, then all colours become sRGB (see `to_plain`). Of an animation, the first frame is taken.

    Args:
        record: the image, and its mask if it has one.
        fit: the shape that is asked for, and how it is reached.

    Raises:
        Unreadable: with the reason.
    """
    image, notes = _with_reason(_read_picture, record, fit)
    mask = None
    if record.mask is not None:
        try:
            mask, more = _with_reason(read_mask, record)
        except Unreadable as reason:
            raise Unreadable(f"its mask: {reason}") from reason
        notes += more
        if mask.size != image.size:
            raise Unreadable(
                f"its mask is {mask.width} x {mask.height} pixels, the image {image.width} x {image.height}; both must be of one "
                "size"
            )
    return Decoded(fit.picture(image, mask, record.name), tuple(notes))


def _with_reason(read: Callable[..., _Read], *arguments: Any) -> _Read:
    try:
        return read(*arguments)
    except (Unreadable, MemoryError):
        raise
    except Exception as error:  # damaged files make Pillow's decoders raise almost any type
        raise Unreadable(reason_of(error)) from error


@contextlib.contextmanager
def opened(content: Content, page: int = 0) -> Iterator[Image.Image]:
    """An image by its header: format, size and mode are known, no pixel is decoded yet.

    Raises:
        Unreadable: there is no file, it is empty, or no image by its content.
    """
    source = _source(content)
    try:
        image = Image.open(source, formats=FORMATS)
    except UnidentifiedImageError as error:
        raise Unreadable(_unidentified(source)) from error
    with image:
        if page:
            image.seek(page)
        yield image


def _read_picture(record: Record, fit: Fit) -> tuple[Image.Image, list[str]]:
    """The whole image, upright, in mode L, RGB or RGBA."""
    with opened(record.content, record.page) as image:
        check_size(image)
        notes = []
        if getattr(image, "is_animated", False) and image.format != "TIFF":  # pages of a TIFF are records of their own
            notes.append("the first of several frames taken")
        if fit.draft_side is not None and record.mask is None:
            # JPEG alone heeds this: it decodes at 1/2, 1/4 or 1/8, kept at twice the size needed for the filter's sake.
            image.draft(None, (fit.draft_side, fit.draft_side))
        plain, more = upright(image, fit)
    return plain, notes + more


def upright(image: Image.Image, fit: Fit) -> tuple[Image.Image, list[str]]:
    """An opened image, decoded, turned as its EXIF data say, in mode L, RGB or RGBA; and what was done to it.

    Raises:
        Unreadable: its values have no agreed range. Pillow's own errors pass.
    """
    wide, turned = is_wide(image), is_turned(image)
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    plain, notes = to_plain(image, fit.channels, fit.white_level, wide)
    return plain, ["turned or mirrored as its EXIF data say"] * turned + notes


def is_turned(image: Image.Image) -> bool:
    """Whether the EXIF data of an opened image turn or mirror it."""
    return image.getexif().get(_ORIENTATION, 1) in range(2, 9)


def read_mask(record: Record) -> tuple[Image.Image, list[str]]:
    """The whole mask in mode L, 0 or 255; a mask with pages has one for each page of its image.

    Raises:
        Unreadable: it can't be read. Pillow's own errors pass.
    """
    assert record.mask is not None  # noqa: S101 - for the type checker
    with opened(record.mask) as image:
        if getattr(image, "n_frames", 1) > record.page:
            image.seek(record.page)
        check_size(image)
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return to_mask(image)


def _source(content: Content) -> Path | io.BytesIO:
    if isinstance(content, Path):
        try:
            status = os.stat(content)
        except OSError as error:
            raise Unreadable(reason_of(error)) from error
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("not a regular file")
        if status.st_size == 0:
            raise Unreadable("the file is empty (0 bytes)")
        return content
    data = content()
    if not data:
        raise Unreadable("it is empty (0 bytes)")
    return io.BytesIO(data)


def check_size(image: Image.Image) -> None:
    """Raises `Unreadable` for an opened image with more pixels than the limit."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise Unreadable(_too_large(f"{image.width} x {image.height} pixels are"))


def _too_large(found: str) -> str:
    return (
        f"{found} more than the limit of {Image.MAX_IMAGE_PIXELS} pixels (a decompression bomb?); scale it down, or, if it is a "
        "real scan, raise --data.max-megapixels and cut it with --data.fit tiles"
    )


def _unidentified(source: Path | io.BytesIO) -> str:
    if isinstance(source, Path):
        with open(source, "rb") as file:
            magic = file.read(4)
    else:
        magic = source.getvalue()[:4]
    if magic in _TIFF_MAGIC:
        return (
            "a TIFF that is damaged, or has channels or bits that cannot be read; save it as grey, RGB or RGBA with 8 bits, "
            "or as grey with 16"
        )
    return "not an image: its content is no PNG, JPEG, WebP, BMP, TIFF or GIF"


def reason_of(error: Exception) -> str:
    """Why a file cannot be read, in words, from whatever a decoder raised."""
    if isinstance(error, Unreadable):
        return str(error)
    if isinstance(error, Image.DecompressionBombError):
        return _too_large("its pixels are")
    if isinstance(error, FileNotFoundError):
        return "the file does not exist (a dangling link?)"
    if isinstance(error, EOFError):
        return "it has fewer pages than when it was listed"
    if isinstance(error, OSError):
        return (error.strerror or str(error) or "cannot be read").lower()
    return f"damaged ({type(error).__name__}: {error})"
