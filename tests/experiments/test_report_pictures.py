"""Images and marks of the report."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from sadm.core.grids import grid_png
from sadm.experiments.report.drawing import shortened
from sadm.experiments.report.figures import _set_apart
from sadm.experiments.report.pictures import column_layout, thumbnails


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("count", "columns", "scale"), [(1, 1, 1), (5, 3, 2), (6, 3, 7), (2, 4, 1)])
def test_grid_equals_a_naive_loop(channels: int, count: int, columns: int, scale: int) -> None:
    images = np.random.default_rng(count).integers(0, 256, (count, 5, 4, channels), dtype=np.uint8)
    image = Image.open(io.BytesIO(grid_png(images, columns, scale)))
    assert image.mode == {1: "LA", 3: "RGBA"}[channels]
    pixels = np.asarray(image)
    rows = -(-count // columns)
    assert pixels.shape == (rows * (5 * scale + 4) - 4, columns * (4 * scale + 4) - 4, channels + 1)
    expected = np.zeros_like(pixels)
    for index in range(count):
        for y in range(5 * scale):
            for x in range(4 * scale):
                place = (index // columns * (5 * scale + 4) + y, index % columns * (4 * scale + 4) + x)
                expected[place] = [*images[index, y // scale, x // scale], 255]
    np.testing.assert_array_equal(pixels, expected)


def test_grid_enlarges_small_images_only() -> None:
    for side, shown in ((8, 64), (28, 84), (64, 64), (96, 96)):
        image = Image.open(io.BytesIO(grid_png(np.zeros((1, side, side, 1), np.uint8), 1)))
        assert image.size == (shown, shown)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 8, 8, 1)),
        np.zeros((8, 8, 1), np.uint8),
        np.zeros((2, 8, 8, 2), np.uint8),
        np.zeros((0, 8, 8, 1), np.uint8),
        [[1]],
    ],
)
def test_grid_refuses_other_arrays(images: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"uint8 arrays \[n, H, W, C\]"):
        grid_png(images, 2)


def test_large_images_are_averaged_down() -> None:
    checks = np.indices((256, 512)).sum(axis=0) % 2 * np.uint8(200)  # [256, 512]
    small = thumbnails(np.stack([checks, checks])[..., None].astype(np.uint8))
    assert small.shape == (2, 64, 128, 1)
    np.testing.assert_array_equal(small, 100)


def test_columns_follow_the_classes() -> None:
    assert column_layout(["a", "b", "c"] * 4, 12) == (3, ["a", "b", "c"])
    assert column_layout(["a", "b", "c"], 12) == (3, ["a", "b", "c"])
    assert column_layout(["a"] * 4 + ["b"] * 4, 8) == (8, ["a"] * 4 + ["b"] * 4)
    assert column_layout([str(i) for i in range(40)], 40) == (10, [])
    assert column_layout(None, 4) == (4, [])


def test_only_marks_at_the_same_cost_are_set_apart() -> None:
    assert _set_apart([51.2, 51.0, 61.4], gap=10) == [-5, 5, 0]
    assert _set_apart([20.0, 40.0]) == [0, 0]
    assert _set_apart([0.0, 0.0, 0.0], gap=10) == [-10, 0, 10]


def test_long_names_are_cut_in_figures() -> None:
    assert shortened("short") == "short"
    assert shortened("x" * 80) == "x" * 59 + "…"
    assert shortened("画" * 40) == "画" * 29 + "…"
