"""Masks: what is marked in an image, such as its defect; white on black in a file of the same size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from sadm.core.errors import UserError
from sadm.data.records import Unreadable


def to_mask(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """A loaded image as a mask of mode L with the values 0 and 255, and what was done to it, as short texts.

    What is at least half white is marked. Masks that hold numbers (0 and 1, or one for each kind of defect) have no white: in
    them, all that is not black is marked. Transparent places are not.

    Raises:
        Unreadable: its values have no agreed range.
    """
    if image.mode == "F":
        raise Unreadable("pixel values of 32 bits have no agreed range; save it with 8 bits, white on black")
    values, white = _values(image)
    notes = []
    if 0 < int(values.max(initial=0)) <= white // 2:
        marked = values > 0
        notes.append("its mask holds no white: all that is not black is marked")
    else:
        marked = values > white // 2
    return Image.fromarray(np.where(marked, 255, 0).astype(np.uint8)), notes


def _values(image: Image.Image) -> tuple[np.ndarray, int]:
    """Values [H, W], and the one that stands for white."""
    if image.mode.startswith("I"):
        return np.asarray(image), 65535
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image.convert("RGBA"))
    return np.asarray(image.convert("L")), 255


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
