"""Tiles of large scans: where to cut, cutting, and putting tiles back together."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sadm.core.errors import UserError
from sadm.data.imageset import Tile

LARGEST_OVERLAP = 0.9


def tile_positions(length: int, tile: int, overlap: float = 0.0) -> list[int]:
    """Where tiles begin along one axis: from 0 in equal steps, the last one shifted back so that it ends with the axis.

    Args:
        length: of the axis, in pixels, at least `tile`.
        tile: length of a tile, in pixels.
        overlap: share of a tile that the next one covers again, in [0, 0.9].

    Raises:
        UserError: a value outside these.
    """
    check_overlap(overlap)
    if not 1 <= tile <= length:
        raise UserError(f"a tile of {tile} pixels can't be cut from {length}; expected 1 to {length}.")
    step = max(1, round(tile * (1 - overlap)))
    return [*range(0, length - tile, step), length - tile]


def check_overlap(overlap: float) -> None:
    """Raises a `UserError` unless the overlap is in [0, 0.9]."""
    if not 0 <= overlap <= LARGEST_OVERLAP:
        raise UserError(
            f"--data.overlap is {overlap}; expected a share of a tile from 0 to {LARGEST_OVERLAP}, such as 0.25."
        )


def tile_places(
    origin: str, size: tuple[int, int], tile: int, overlap: float = 0.0, scale: float = 1.0
) -> tuple[list[tuple[int, int]], tuple[Tile, ...]]:
    """Where the square tiles of one image lie, row by row: in the resized image, and in the image itself.

    Args:
        origin: name of the image.
        size: its (width, height) in pixels.
        tile: side of a tile, in pixels of the resized image.
        overlap: see `tile_positions`.
        scale: factor by which the image is resized before it is cut, in (0, 1].

    Returns:
        Corners (left, top) in the resized image, and the tiles as `Tile`, in pixels of the image itself.
    """
    width, height = (scaled_length(length, scale) for length in size)
    corners = [(x, y) for y in tile_positions(height, tile, overlap) for x in tile_positions(width, tile, overlap)]
    # Rounded so that no tile leaves the image, and no two fall together.
    wide, high = -(-tile * size[0] // width), -(-tile * size[1] // height)
    tiles = tuple(Tile(origin, x * size[0] // width, y * size[1] // height, wide, high) for x, y in corners)
    return corners, tiles


def scaled_length(length: int, scale: float) -> int:
    """A length of an image that is resized by `scale`, in whole pixels."""
    return max(1, round(length * scale))


def assemble(tiles: torch.Tensor, placements: Sequence[Tile], shape: tuple[int, int]) -> torch.Tensor:
    """Puts tiles back together into the image that they were cut from.

    Where tiles overlap they are blended: each counts with its distance to its own edge, so that one fades into the next in a
    straight line. Tiles that agree give back their pixels exactly (uint8, and floating point up to float32).

    Args:
        tiles: [N, C, h, w], uint8 or floating point.
        placements: where each belongs; its width and height must be the tile's.
        shape: (H, W) of the image.

    Returns:
        [C, H, W], of the tiles' dtype.

    Raises:
        UserError: numbers or sizes do not fit, a tile lies outside the image, or a part of it is covered by none.
    """
    count, channels, height, width = tiles.shape
    if count != len(placements):
        raise UserError(f"{count} tiles but {len(placements)} placements; expected one for each.")
    window = torch.outer(_tent(height), _tent(width))  # [h, w]
    total = torch.zeros(channels, *shape, dtype=torch.float64)
    weight = torch.zeros(shape, dtype=torch.float64)
    for pixels, place in zip(tiles, placements, strict=True):
        _check_place(place, (height, width), shape)
        rows, columns = slice(place.top, place.top + height), slice(place.left, place.left + width)
        total[:, rows, columns] += window * pixels
        weight[rows, columns] += window
    bare = int((weight == 0).sum())
    if bare:
        raise UserError(
            f"{bare} pixels of {shape[1]} x {shape[0]} are covered by no tile. Give all tiles of the image."
        )
    image = total / weight
    return image.to(tiles.dtype) if tiles.is_floating_point() else image.round().clamp(0, 255).to(tiles.dtype)


def _tent(length: int) -> torch.Tensor:
    """Distances of pixel centres from the nearer edge [length], float64."""
    centres = torch.arange(length, dtype=torch.float64) + 0.5
    return torch.minimum(centres, length - centres)


def _check_place(place: Tile, size: tuple[int, int], shape: tuple[int, int]) -> None:
    if (place.height, place.width) != size:
        raise UserError(
            f"a tile of {size[1]} x {size[0]} pixels belongs to {place.width} x {place.height} pixels of '{place.origin}'. "
            "Resize the tiles to that, or give placements in the tiles' own pixels."
        )
    inside = 0 <= place.left <= shape[1] - place.width and 0 <= place.top <= shape[0] - place.height
    if not inside:
        raise UserError(
            f"the tile at x={place.left}, y={place.top} of '{place.origin}' lies outside {shape[1]} x {shape[0]} pixels."
        )
