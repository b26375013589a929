"""Tiles: they cover all of a scan, remember where they came from, and go back together exactly."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sadm.core.errors import UserError
from sadm.data import Fit, assemble, tile_positions
from sadm.data.imageset import Tile
from sadm.data.tiles import tile_places


@given(st.integers(1, 60), st.integers(0, 300), st.floats(0, 0.9))
@settings(max_examples=200, deadline=None)
def test_positions_cover_the_axis_with_full_tiles(tile: int, more: int, overlap: float) -> None:
    length = tile + more
    positions = tile_positions(length, tile, overlap)
    assert (positions[0], positions[-1]) == (0, length - tile)
    steps = [b - a for a, b in itertools.pairwise(positions)]
    assert all(0 < step <= max(1, round(tile * (1 - overlap))) for step in steps)
    assert len(set(steps[:-1])) <= 1  # only the last one is shifted


def test_impossible_positions_are_refused() -> None:
    with pytest.raises(UserError, match=r"--data\.overlap is 0\.95; expected a share of a tile from 0 to 0\.9"):
        tile_positions(100, 10, 0.95)
    with pytest.raises(UserError, match="a tile of 11 pixels can't be cut from 10"):
        tile_positions(10, 11)


def scan(width: int, height: int, channels: int = 3) -> np.ndarray:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(width).integers(0, 256, shape, dtype=np.uint8)


def planes(pixels: np.ndarray) -> torch.Tensor:
    """[n, C, H, W]."""
    tensor = torch.from_numpy(pixels)
    return tensor[:, None] if tensor.ndim == 3 else tensor.permute(0, 3, 1, 2)


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.75])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(64, 64), (100, 77), (17, 16)])
def test_cut_and_assembled_is_the_same_scan(size: tuple[int, int], channels: int, overlap: float) -> None:
    pixels = scan(*size, channels)
    fitted = Fit(16, policy="tiles", overlap=overlap).picture(Image.fromarray(pixels), name="scan.png")
    assert fitted.tiles is not None
    for tile, place in zip(fitted.pixels, fitted.tiles, strict=True):  # by numpy alone
        assert np.array_equal(tile, pixels[place.top : place.top + 16, place.left : place.left + 16])
        assert (place.origin, place.width, place.height) == ("scan.png", 16, 16)
    whole = planes(pixels[None])[0]
    tiles = planes(fitted.pixels)
    assert torch.equal(assemble(tiles, fitted.tiles, size[::-1]), whole)
    floats = tiles.float() / 127.5 - 1
    assert torch.equal(assemble(floats, fitted.tiles, size[::-1]), whole.float() / 127.5 - 1)


def test_overlaps_fade_in_a_straight_line() -> None:
    places = [Tile("s", 0, 0, 8, 2), Tile("s", 4, 0, 8, 2)]
    tiles = torch.stack([torch.zeros(1, 2, 8), torch.ones(1, 2, 8)])
    found = assemble(tiles, places, (2, 12))
    expected = [0] * 4 + [(i + 0.5) / 4 for i in range(4)] + [1] * 4
    assert found[0, 0].tolist() == pytest.approx(expected)
    assert torch.equal(found[0, 0], found[0, 1])


def test_blending_against_a_naive_loop() -> None:
    _, places = tile_places("s", (13, 11), 6, 0.5)
    tiles = torch.rand(len(places), 2, 6, 6, generator=torch.Generator().manual_seed(0))
    found = assemble(tiles, places, (11, 13))
    for y in range(11):
        for x in range(13):
            total, weight = torch.zeros(2), 0.0
            for tile, place in zip(tiles, places, strict=True):
                dx, dy = x - place.left, y - place.top
                if 0 <= dx < 6 and 0 <= dy < 6:
                    share = min(dx + 0.5, 5.5 - dx) * min(dy + 0.5, 5.5 - dy)
                    total, weight = total + share * tile[:, dy, dx], weight + share
            assert torch.allclose(found[:, y, x], total / weight, atol=1e-6)


def test_what_does_not_fit_together_is_refused() -> None:
    tiles, place = torch.zeros(1, 1, 4, 4), Tile("scan", 0, 0, 4, 4)
    for placements, shape, message in [
        ([], (4, 4), "1 tiles but 0 placements"),
        ([place], (4, 6), "8 pixels of 6 x 4 are covered by no tile"),
        ([dataclasses.replace(place, left=3)], (4, 6), "the tile at x=3, y=0 of 'scan' lies outside 6 x 4 pixels"),
        (
            [dataclasses.replace(place, width=8, height=8)],
            (8, 8),
            "tile of 4 x 4 pixels belongs to 8 x 8 pixels of 'scan'",
        ),
    ]:
        with pytest.raises(UserError, match=message):
            assemble(tiles, placements, shape)


@given(st.integers(20, 90), st.integers(20, 90), st.floats(0.3, 1), st.floats(0, 0.8))
@settings(max_examples=60, deadline=None)
def test_scaled_tiles_remember_places_inside_the_scan(width: int, height: int, scale: float, overlap: float) -> None:
    corners, tiles = tile_places("s", (width, height), 6, overlap, scale)
    assert len(set(tiles)) == len(tiles)
    for (x, y), tile in zip(corners, tiles, strict=True):
        assert 0 <= tile.left <= width - tile.width
        assert 0 <= tile.top <= height - tile.height
        assert abs(tile.left - x / scale) <= 2.7  # whole pixels, of the scan and of the resized one
        assert abs(tile.top - y / scale) <= 2.7


def test_a_scaled_scan_is_cut_after_resizing() -> None:
    pixels = np.kron(scan(20, 12, 1), np.ones((2, 2), dtype=np.uint8))  # each pixel twice
    fitted = Fit(4, policy="tiles", scale=0.5).picture(Image.fromarray(pixels), name="s")
    assert fitted.tiles is not None
    assert len(fitted.tiles) == 5 * 3
    assert [(tile.left, tile.top, tile.width) for tile in fitted.tiles[:2]] == [(0, 0, 8), (8, 0, 8)]
    shrunk = np.asarray(Image.fromarray(pixels).resize((20, 12), Image.Resampling.HAMMING))
    assert np.array_equal(fitted.pixels[6], shrunk[4:8, 4:8])
