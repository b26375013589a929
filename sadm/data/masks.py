"""Masks: what is marked in an image, such as its defect; white on black in a file of the same size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from sadm.core.errors import UserError
from sadm.data.records import Unreadable

_LOSSY = ("JPEG", "MPO", "WEBP")
_NOISE = 63  # grey levels that lossy formats may leave where nothing is
_FEW = 16  # values that a mask of numbers holds at most
_FAINT = 1 / 16  # of white: lines of a value below it may be noise, areas are not


def to_mask(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """A loaded image as a mask of mode L with the values 0 and 255, and what was done to it, as short texts.

    What is at least half white is marked. Masks that hold numbers (0 and 1, or one for each kind of defect) have no white: in
    them, all that is not black is marked; so it is in masks that hold a colour, such as one for each kind of defect. Transparent
    places are not marked.

    Raises:
        Unreadable: its values have no agreed range, or are numbers of which some would be marked and others not.
    """
    if image.mode == "F":
        raise Unreadable("pixel values of 32 bits have no agreed range; save it with 8 bits, white on black")
    noise = _NOISE if image.format in _LOSSY else 0
    values, white, coloured = _values(image, noise)
    notes = []
    if coloured:
        marked = values > noise
        notes.append("its mask holds colours: all that is not black is marked")
    elif 0 < int(values.max(initial=0)) <= white // 2:
        marked = values > 0
        notes.append("its mask holds no white: all that is not black is marked")
    else:
        if not noise:
            _refuse_numbers(values, white)
        marked = values > white // 2
    return Image.fromarray(np.where(marked, 255, 0).astype(np.uint8)), notes


def of_shares(shares: np.ndarray) -> np.ndarray:
    """Masks [n, H, W], uint8, 0 or 255, from what share of each pixel is marked [n, H, W], in 255ths.

    A pixel is marked where at least half of it is. Where something is and no pixel reaches the half, such as a scratch that is
    thinner than a pixel, those are marked that have at least half of the largest share.
    """
    largest = shares.max(axis=(1, 2), keepdims=True)
    least = np.where(largest >= 128, 128, largest / 2)
    return np.where((shares > 0) & (shares >= least), 255, 0).astype(np.uint8)


def _values(image: Image.Image, noise: int) -> tuple[np.ndarray, int, bool]:
    """Values [H, W], the one that stands for white, and whether a pixel has a colour: channels that differ by more than noise.

    The values are grey levels, or of colours those of the lightest channel.
    """
    if image.mode.startswith("I"):
        return np.asarray(image), 65535, False
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image.convert("RGBA"))
    if image.mode not in ("1", "L"):
        lightest = np.zeros((image.height, image.width), np.uint8)
        darkest = np.full_like(lightest, 255)
        for channel in map(np.asarray, image.convert("RGB").split()):
            np.maximum(lightest, channel, out=lightest)
            np.minimum(darkest, channel, out=darkest)
        if bool((lightest - darkest > noise).any()):
            return lightest, 255, True
    return np.asarray(image.convert("L")), 255, False


def _refuse_numbers(values: np.ndarray, white: int) -> None:
    """Refuses a mask [H, W] of numbers on either side of half white, of which the low ones would vanish; soft edges may stay.

    Raises:
        Unreadable: with the numbers that were found.
    """
    low = np.unique(values[(values > 0) & (values <= white // 2)])
    high = np.unique(values[values > white // 2])
    if not len(low) or len(low) + len(high) > _FEW:
        return
    own = next((value for value in low if _stands_alone(values, value, 9 if value < white * _FAINT else 3)), None)
    if own is not None:
        found = ", ".join(str(value) for value in [*low, *high])
        raise Unreadable(
            f"it holds the values {found} besides black, and {own} is no soft edge, so it is unclear what is marked; save it "
            f"white on black, or with numbers of at most {white // 2} alone to mark all that is not black"
        )


def _stands_alone(values: np.ndarray, value: int, fewest: int) -> bool:
    """Whether a value fills a line or an area of its own, as no soft edge does: some pixel has at least `fewest` pixels of it and
    nothing else but black among the nine around it.
    """
    same = values == value
    others = (values != 0) & ~same
    return bool((same & (_of_nine(others) == 0) & (_of_nine(same) >= fewest)).any())


def _of_nine(chosen: np.ndarray) -> np.ndarray:
    """How many of the nine pixels around each are chosen [H, W]."""
    padded = np.pad(chosen.astype(np.uint8), 1)
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]


def read_mask(path: str | Path) -> torch.Tensor:
    """A file as a mask [1, H, W], uint8, with the values 0 and 255 (see `to_mask`).

    Raises:
        UserError: there is no such file, or it can't be read as a mask.
    """
    try:
        with Image.open(path, formats=("PNG", "BMP", "TIFF", "JPEG", "WEBP")) as image:
            mask, _ = to_mask(image)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist.") from error
    except (OSError, SyntaxError, ValueError, Unreadable, Image.DecompressionBombError) as error:
        raise UserError(f"{path} can't be read as a mask: {error}.") from error
    return torch.from_numpy(np.asarray(mask).copy())[None]
