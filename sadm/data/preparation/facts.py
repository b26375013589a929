"""`Facts`: what one look at an image file tells, small enough to be kept for each of a hundred thousand files."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

THUMB = 32  # pixels on each side of the grey fingerprint
TINT = 8  # pixels on each side of the colour fingerprint
GREY = 2.0  # levels in Cb and Cr up to which an image is grey: compression leaves some
SIDES = (16, 32, 64, 128, 256)  # sides that `kept` speaks of

_BYTES = ("thumb", "tint")


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a look at one record found.

    A record that cannot be read has `problem` and `detail`, and no facts of its pixels.

    Attributes:
        name: of the record.
        size: of its content in bytes.
        modified: of its file, in nanoseconds; 0 for content that lies in a container.
        sha256: of its content, hexadecimal; empty where it could not be read.
        mask: size and time, or SHA-256, of its mask; empty without one.
        problem: why it is no image, one of `PROBLEMS`; empty for an image.
        detail: the same in words.
        width, height: in pixels, upright.
        mode: Pillow's word for the file's channels, such as "RGB" or "CMYK".
        bits: of each channel.
        peak: highest value of 16-bit grey, before it is scaled; 0 for others, and where fewer bits are packed as such.
        frames: how many images the file holds.
        turned: the file's EXIF data turn or mirror it.
        profile: it has a colour profile other than sRGB.
        alpha: it has transparent pixels, or could have.
        pixels: SHA-256 of the upright pixels in 8-bit RGB, hexadecimal: equal for equal pixels in any format.
        brightness: mean grey level, 0 to 255.
        contrast: standard deviation of the grey levels.
        flat: no channel varies.
        kept: share of the central square's variance that remains when it is averaged to each of `SIDES`, as long as that makes
            it smaller.
        phash: perceptual hash, 64 bits, hexadecimal.
        thumb: grey levels [32, 32], uint8, stretched over the full range.
        tint: colour without brightness [2, 8, 8], uint8 (Cb and Cr, 128 = grey).
    """

    name: str
    size: int
    modified: int
    sha256: str = ""
    mask: str = ""
    problem: str = ""
    detail: str = ""
    width: int = 0
    height: int = 0
    mode: str = ""
    bits: int = 0
    peak: int = 0
    frames: int = 0
    turned: bool = False
    profile: bool = False
    alpha: bool = False
    pixels: str = ""
    brightness: float = 0.0
    contrast: float = 0.0
    flat: bool = False
    kept: tuple[float, ...] = ()
    phash: str = ""
    thumb: bytes = b""
    tint: bytes = b""

    @property
    def smaller_side(self) -> int:
        """In pixels."""
        return min(self.width, self.height)

    def to_json(self) -> dict[str, Any]:
        """Without what is empty, as JSON takes it."""
        values = {key: value for key, value in dataclasses.asdict(self).items() if value not in ("", b"", ())}
        if "kept" in values:
            values["kept"] = list(self.kept)
        values.update({key: base64.b85encode(values[key]).decode("ascii") for key in _BYTES if key in values})
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Facts:
        """From what `to_json` gave.

        Raises:
            TypeError, ValueError: it gave something else.
        """
        values = values | {key: base64.b85decode(values[key]) for key in _BYTES if key in values}
        return cls(**values | {"kept": tuple(values.get("kept", ()))})


PROBLEMS = (
    "missing",
    "forbidden",
    "special_file",
    "empty",
    "changing",
    "truncated",
    "not_an_image",
    "damaged",
    "too_large",
    "odd_channels",
    "bad_mask",
)
"""Why content is no image."""

PASSING = ("missing", "forbidden", "special_file", "changing", "too_large")
"""Problems that are not remembered: they may be gone at the next look, or the limit is another one then."""


def thumbs(facts: Sequence[Facts]) -> np.ndarray:
    """Grey fingerprints [N, 32, 32], float32, each with mean 0 and norm 1."""
    levels = np.frombuffer(b"".join(fact.thumb for fact in facts), np.uint8).reshape(-1, THUMB, THUMB)
    centred = levels.astype(np.float32)
    centred -= centred.mean(axis=(1, 2), keepdims=True)
    norms = np.sqrt((centred**2).sum(axis=(1, 2), keepdims=True))
    return centred / np.maximum(norms, 1e-6)


def tints(facts: Sequence[Facts]) -> np.ndarray:
    """Colour fingerprints [N, 2, 8, 8], float32, 0 = grey."""
    levels = np.frombuffer(b"".join(fact.tint for fact in facts), np.uint8).reshape(-1, 2, TINT, TINT)
    return levels.astype(np.float32) - 128
