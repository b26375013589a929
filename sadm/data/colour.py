"""From whatever a file holds to 8-bit grey, RGB or RGBA in sRGB: 16 bits, colour profiles, CMYK, palettes, transparency."""

from __future__ import annotations

import functools
import io

import numpy as np
from PIL import Image, ImageChops, ImageCms

from sadm.data.records import Unreadable

FULL_16_BIT = 65535

DARK = 8  # 16-bit values all below an eighth of white are worth a word
_SAME = 2  # 8-bit levels: a profile that changes no colour by more is sRGB by another name
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # TIFF tags
_WHITE_IS_ZERO = 0

_SRGB = ImageCms.createProfile("sRGB")
_MODE_OF_SPACE = {"GRAY": "L", "RGB ": "RGB", "CMYK": "CMYK"}


def to_plain(image: Image.Image, channels: int | None, white_level: int, wide: bool) -> tuple[Image.Image, list[str]]:
    """Brings a loaded image to mode L, RGB or RGBA.

    Args:
        image: of any mode; not changed.
        channels: 1 = L; 4 = RGBA, transparency kept; 3 or None = as the colours need, transparency composited on white.
        white_level: the value of 16-bit grey that becomes white.
        wide: the file has 16 bits for each of several channels, of which Pillow has kept the upper eight.

    Returns:
        The image, and what was done to it, as short texts.

    Raises:
        Unreadable: its values have no agreed range.
    """
    notes: list[str] = []
    icc = image.info.get("icc_profile")
    if image.mode.startswith("I;16"):
        image = _from_16_bit(image, white_level, notes)
    elif image.mode in ("I", "F"):
        raise Unreadable(
            "pixel values of 32 bits, or with a sign, have no agreed range; save it with 8 or 16 bits per channel"
        )
    elif wide:
        _say_wide(image, white_level, notes)
    image, alpha = _without_alpha(image)
    image = _to_srgb(image, icc, notes)
    if channels == 4:
        image = image.convert("RGB")
        image.putalpha(255 if alpha is None else alpha)
        return image, notes
    if channels == 1:
        image = image.convert("L")
    if alpha is not None:
        image = Image.composite(image, Image.new(image.mode, image.size, "white"), alpha)
        notes.append("transparency composited on white")
    return image, notes


def is_wide(image: Image.Image) -> bool:
    """Whether an image that is opened but not loaded has 16 bits for each of several channels.

    Pillow reads these as 8 bits: the lower halves are lost (Pillow 13; there is no other way to ask it).
    """
    arguments = [tile[3] for tile in getattr(image, "tile", [])]
    rawmodes = [first[0] if isinstance(first, tuple) and first else first for first in arguments]
    return not image.mode.startswith("I") and any(";16" in str(rawmode) for rawmode in rawmodes)


def white_of(image: Image.Image, white_level: int) -> int:
    """The value of an image of 16-bit grey that becomes white."""
    bits = int(getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))[0])
    return min(white_level, 2**bits - 1)  # 12 bits may also be packed as such


def _from_16_bit(image: Image.Image, white_level: int, notes: list[str]) -> Image.Image:
    tags, white = getattr(image, "tag_v2", {}), white_of(image, white_level)
    values = np.asarray(image).astype(np.uint32)
    if values.size and int(values.max()) * DARK < white:
        notes.append(
            f"16-bit values all below 1/{DARK} of the white level {white}, so it is dark (for 10, 12 or 14 bits stored in 16, "
            "give --data.white-level 1023, 4095 or 16383)"
        )
    levels = np.minimum((values * 255 + white // 2) // white, 255).astype(np.uint8)
    notes.append(f"16-bit grey scaled by 255 / {white}")
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # Pillow inverts this for 8 bits only
        levels = 255 - levels
    return Image.fromarray(levels)


def _say_wide(image: Image.Image, white_level: int, notes: list[str]) -> None:
    if white_level != FULL_16_BIT:
        raise Unreadable(
            f"16 bits per channel in colour can only be read as 8, so the white level {white_level} can't be applied; save it "
            "as 16-bit grey, or with 8 bits per channel"
        )
    notes.append("16 bits per channel in colour read as 8")
    brightest = int(np.asarray(image.convert("RGB")).max(initial=0))
    if brightest * DARK < 256:
        notes.append(f"colour of 16 bits all below 1/{DARK} of the full range, so it is dark")


def _without_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Colours in mode L, RGB, CMYK or LAB, and their opacity; None where all is opaque."""
    if not image.has_transparency_data:
        if image.mode in ("1", "L"):
            return image.convert("L"), None
        return (image if image.mode in ("CMYK", "LAB") else image.convert("RGB")), None
    grey = image.mode in ("1", "L", "LA")
    image = image.convert("LA" if grey else "RGBA")
    alpha = image.getchannel("A")
    colours = image.convert("L" if grey else "RGB")
    return colours, None if alpha.getextrema() == (255, 255) else alpha


def _to_srgb(image: Image.Image, icc: bytes | None, notes: list[str]) -> Image.Image:
    """Mode L, RGB, CMYK or LAB to L or RGB, by the colour profile if there is a good one."""
    if icc and image.mode != "LAB":
        try:
            mode, name, transform = _transform(icc, "L" if image.mode == "L" else image.mode)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError, KeyError):
            notes.append("its colour profile is damaged or not for these channels: colours taken as sRGB")
        else:
            if transform is None:
                return image
            notes.append(f"colour profile '{name}' converted to sRGB")
            converted = ImageCms.applyTransform(image.convert(mode), transform)
            assert converted is not None  # noqa: S101 - only a transform in place gives None
            return converted.getchannel("G") if image.mode == "L" else converted
    if image.mode == "CMYK":
        notes.append("CMYK without a good colour profile converted to RGB by formula")
    elif image.mode == "LAB":
        notes.append("CIELAB converted to sRGB")
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


@functools.lru_cache(maxsize=32)  # the files of one camera or scanner share their profile
def _transform(icc: bytes, mode: str) -> tuple[str, str, ImageCms.ImageCmsTransform | None]:
    """The mode that a profile is for, its name, and its transform to sRGB; None where that would change nothing.

    Grey images often carry the profile of a scanner's RGB: they are taken through it as neutral colours.
    """
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    expected = _MODE_OF_SPACE[profile.profile.xcolor_space]
    if expected != mode and (mode, expected) != ("L", "RGB"):
        raise ValueError(f"a profile for {expected}, an image in {mode}")
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    if expected == "L":
        flags |= (
            ImageCms.Flags.NOOPTIMIZE
        )  # else a coarse table stands for the curve, up to 10 levels off where it is dark
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    transform = ImageCms.buildTransform(profile, _SRGB, expected, "RGB", intent, flags)
    name = " ".join(ImageCms.getProfileDescription(profile).split()) or "without a name"
    return expected, name, None if _changes_nothing(transform, expected) else transform


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    if mode == "CMYK":
        return False
    levels = np.arange(0, 256, 15, dtype=np.uint8)  # 0, 15, …, 255
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(len(levels), -1, 3)
    probe = Image.fromarray(colours) if mode == "RGB" else Image.fromarray(levels[None])
    converted = ImageCms.applyTransform(probe, transform)
    assert converted is not None  # noqa: S101 - as above
    difference = ImageChops.difference(converted, probe.convert("RGB"))
    return max(high for _, high in difference.getextrema()) <= _SAME  # type: ignore[misc]
