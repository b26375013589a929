"""Grids of images as PNG, enlarged so that an 8x8 image can be seen."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from sadm.core.files import write_atomically

_SMALLEST_TILE = 64  # pixels; smaller images are enlarged, each pixel into a square
GAP = 4  # transparent pixels between tiles, so that a grid fits a light and a dark page


def grid_png(images: np.ndarray, columns: int, scale: int | None = None) -> bytes:
    """As `grid_picture`, as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(grid_picture(images, columns, scale)).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def grid_picture(images: np.ndarray, columns: int, scale: int | None = None) -> np.ndarray:
    """Composes images into one, row by row, with transparent gaps of 4 pixels.

    Args:
        images: uint8 [n, H, W, C], C = 1, 3 or 4 (with an alpha channel), n ≥ 1.
        columns: images per row.
        scale: each pixel becomes a square of this side (nearest neighbour); None makes the longer side of a tile at
            least 64 pixels.

    Returns:
        uint8 [H, W, C], C = 2 (grey and an alpha channel) or 4; a last row that is not full is transparent at its end.

    Raises:
        ValueError: the array is of another type or shape, or columns or scale is below 1.
    """
    check_pictures(images)
    if columns < 1 or (scale is not None and scale < 1):
        raise ValueError(f"columns and scale must be at least 1; given: {columns} and {scale}.")
    count, height, width, channels = images.shape
    factor = scale or max(1, math.ceil(_SMALLEST_TILE / max(height, width)))
    rows = math.ceil(count / columns)
    step_y, step_x = height * factor + GAP, width * factor + GAP
    if channels < 4:
        images = np.concatenate([images, np.full_like(images[..., :1], 255)], axis=3)
    canvas = np.zeros((rows * step_y - GAP, columns * step_x - GAP, images.shape[3]), np.uint8)
    tiles = images.repeat(factor, axis=1).repeat(factor, axis=2)  # [n, H*factor, W*factor, C and alpha]
    for index, tile in enumerate(tiles):
        top, left = index // columns * step_y, index % columns * step_x
        canvas[top : top + height * factor, left : left + width * factor] = tile
    return canvas


def centred(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures uint8 [H, W, C] of one size or several, as one array [n, H, W, C] for `grid_png`.

    Where sizes differ, each is in the middle of the largest height and width, transparent around it (C is then 4).
    """
    if len({picture.shape for picture in pictures}) == 1:
        return np.stack(pictures)
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    canvas = np.zeros((len(pictures), height, width, 4), np.uint8)
    for place, picture in zip(canvas, pictures, strict=True):
        rows, columns, channels = picture.shape
        top, left = (height - rows) // 2, (width - columns) // 2
        place[top : top + rows, left : left + columns, 3] = 255
        place[top : top + rows, left : left + columns, : 4 if channels == 4 else 3] = picture
    return canvas


def check_pictures(images: np.ndarray) -> None:
    """Refuses what is not uint8 [n, H, W, C] with C = 1, 3 or 4 and n >= 1.

    Raises:
        ValueError: with what was given.
    """
    right_kind = isinstance(images, np.ndarray) and images.dtype == np.uint8
    if not right_kind or images.ndim != 4 or images.shape[-1] not in (1, 3, 4) or 0 in images.shape:
        given = f"{images.dtype} {list(images.shape)}" if isinstance(images, np.ndarray) else type(images).__name__
        raise ValueError(f"pictures must be uint8 arrays [n, H, W, C] with C = 1, 3 or 4 and n ≥ 1; given: {given}.")


def read_png(path: str | Path) -> np.ndarray:
    """Reads what `write_png` writes: uint8 [H, W, C] with C = 1, 3 or 4."""
    with Image.open(path, formats=("PNG",)) as image:
        pixels = np.array(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def write_png(path: Path, image: np.ndarray) -> None:
    """Writes one image, uint8 [H, W, C] with C = 1, 3 or 4, as PNG, atomically."""
    check_pictures(image[None])
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, format="PNG")
    write_atomically(path, buffer.getvalue())
