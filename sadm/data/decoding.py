"""One image file to pixels: upright, 8 bits, grey or RGB, on white; or the reason why not."""

from __future__ import annotations

import io
import os
import stat
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from sadm.data.fitting import Fit
from sadm.data.records import Content

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"})

# Named, so that a file renamed to .png cannot reach decoders that start other programs (EPS) or are rarely exercised.
# JPEG stands for MPO too, the two-picture JPEG of some cameras.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")


class Unreadable(Exception):  # noqa: N818 - a verdict on one file, not a fault of the program
    """A file that yields no image; the message is the reason, for people."""


def silence_pillow() -> None:
    """Silences Pillow's warnings; call within `warnings.catch_warnings`, before threads start.

    What they announce (huge images, broken metadata) is judged by `decode`.
    """
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    warnings.filterwarnings("ignore", module=r"PIL\.")


def decode(content: Content, fit: Fit) -> np.ndarray:
    """Decodes one image file, the first frame where there are several.

    EXIF rotation is applied. 16-bit grey is scaled by its full range, so 12-bit data stored in 16 bits comes out dark.
    Transparency is composited on white. Palette, CMYK and other colour spaces become RGB.

    Args:
        content: the file, or what gives its bytes.
        fit: resolution and channels.

    Returns:
        [H, W] where the file is grey by its mode or channels=1 was asked for, [H, W, 3] otherwise; uint8.

    Raises:
        Unreadable: with the reason.
    """
    try:
        plain = _read(content, fit)
    except (Unreadable, MemoryError):
        raise
    except Exception as error:  # damaged files make Pillow's decoders raise almost any type
        raise Unreadable(_reason(error)) from error
    return np.asarray(fit.picture(plain))


def is_grey(pixels: np.ndarray) -> bool:
    """Whether an image of [H, W] or [H, W, 3] carries no colour, judged by its pixels."""
    if pixels.ndim == 2:
        return True
    return bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all())


def _read(content: Content, fit: Fit) -> Image.Image:
    """The whole image in mode L or RGB."""
    with Image.open(_opened(content), formats=_FORMATS) as image:
        limit = Image.MAX_IMAGE_PIXELS
        if limit is not None and image.width * image.height > limit:
            raise Unreadable(_too_large(f"{image.width} x {image.height} pixels are"))
        if fit.resolution is not None:
            # JPEG alone heeds this: it decodes at 1/2, 1/4 or 1/8, kept at twice the size needed for the filter's sake.
            image.draft(None, (2 * fit.resolution, 2 * fit.resolution))
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return _plain(image)


def _opened(content: Content) -> Path | io.BytesIO:
    if isinstance(content, Path):
        status = os.stat(content)
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("not a regular file")
        if status.st_size == 0:
            raise Unreadable("the file is empty (0 bytes)")
        return content
    data = content()
    if not data:
        raise Unreadable("it is empty (0 bytes)")
    return io.BytesIO(data)


def _plain(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise Unreadable("32-bit pixel values have no agreed range; save it with 8 or 16 bits per channel")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _too_large(found: str) -> str:
    return f"{found} more than the limit of {Image.MAX_IMAGE_PIXELS} pixels (a decompression bomb?); scale it down"


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image: its content is no PNG, JPEG, WebP, BMP, TIFF or GIF"
    if isinstance(error, Image.DecompressionBombError):
        return _too_large("its pixels are")
    if isinstance(error, FileNotFoundError):
        return "the file does not exist (a dangling link?)"
    if isinstance(error, OSError):
        return (error.strerror or str(error) or "cannot be read").lower()
    return f"damaged ({type(error).__name__}: {error})"
