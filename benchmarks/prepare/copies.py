"""How copies of images come about: each kind turns an image into an encoded file."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance

Transpose = Image.Transpose


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _resized(factor: float) -> Callable[[Image.Image], bytes]:
    def copy(image: Image.Image) -> bytes:
        size = (round(factor * image.width), round(factor * image.height))
        return encoded(image.resize(size, Image.Resampling.LANCZOS))

    return copy


def _shifted(image: Image.Image) -> bytes:
    """By a fiftieth of its side, a pixel at least; what is bared repeats the edge."""
    by = max(1, round(image.width / 50))
    levels = np.asarray(image)
    moved = np.roll(levels, by, axis=1)
    moved[:, :by] = levels[:, :1]
    return encoded(Image.fromarray(moved))


def _trimmed(image: Image.Image) -> bytes:
    edge = max(1, round(0.03 * image.width))
    return encoded(image.crop((edge, edge, image.width - edge, image.height - edge)))


def _recoloured(image: Image.Image) -> bytes:
    """Warmer, as by another white balance."""
    gains = np.array([1.06, 1.0, 0.94])
    return encoded(Image.fromarray(np.clip(np.asarray(image.convert("RGB")) * gains, 0, 255).astype(np.uint8)))


def _turned(how: Transpose) -> Callable[[Image.Image], bytes]:
    return lambda image: encoded(image.transpose(how))


COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    "the same file": encoded,
    "another format": lambda image: encoded(image, "BMP"),
    "JPEG, quality 85": lambda image: encoded(image, "JPEG", quality=85),
    "JPEG, quality 50": lambda image: encoded(image, "JPEG", quality=50),
    "half the size": _resized(0.5),
    "twice the size": _resized(2.0),
    "brighter by 15 %": lambda image: encoded(ImageEnhance.Brightness(image).enhance(1.15)),
    "warmer colours": _recoloured,
    "mirrored": _turned(Transpose.FLIP_LEFT_RIGHT),
    "turned by 90°": _turned(Transpose.ROTATE_90),
    "shifted by 2 %": _shifted,
    "trimmed by 3 % on each side": _trimmed,
}
