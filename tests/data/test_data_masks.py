"""Masks as people store them: white on black, numbers, palettes, transparency, 16 bits."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sadm.data.masks import to_mask
from sadm.data.records import Unreadable

MARKED = np.random.default_rng(0).random((9, 14)) < 0.3


def found(image: Image.Image) -> tuple[np.ndarray, list[str]]:
    mask, notes = to_mask(image)
    values = np.asarray(mask)
    assert np.unique(values).tolist() == [0, 255]
    return values == 255, notes


def grey(level: int, dtype: type = np.uint8) -> Image.Image:
    return Image.fromarray(np.where(MARKED, level, 0).astype(dtype))


@pytest.mark.parametrize(
    "image",
    [
        grey(255),
        grey(200),
        grey(255).convert("1"),
        grey(255).convert("RGB"),
        grey(65535, np.uint16),
        grey(40000, np.uint16),
    ],
)
def test_white_is_marked(image: Image.Image) -> None:
    marked, notes = found(image)
    assert np.array_equal(marked, MARKED)
    assert notes == []


@pytest.mark.parametrize("image", [grey(1), grey(7), grey(127), grey(1, np.uint16), grey(300, np.uint16)])
def test_without_any_white_all_that_is_not_black_is_marked_and_said(image: Image.Image) -> None:
    marked, notes = found(image)
    assert np.array_equal(marked, MARKED)
    assert notes == ["its mask holds no white: all that is not black is marked"]


def test_a_palette_of_class_colours() -> None:
    image = grey(1).convert("P")
    image.putpalette([0, 0, 0, 128, 0, 0])
    assert np.array_equal(found(image)[0], MARKED)


def test_noise_around_white_is_not_marked() -> None:
    values = np.where(MARKED, 250, np.arange(14) % 6).astype(np.uint8)  # as a JPEG would leave it
    assert np.array_equal(found(Image.fromarray(values))[0], MARKED)


def test_transparent_places_are_not_marked() -> None:
    rgba = np.full((9, 14, 4), 255, dtype=np.uint8)
    rgba[..., 3] = np.where(MARKED, 255, 0)
    assert np.array_equal(found(Image.fromarray(rgba))[0], MARKED)


def test_nothing_marked_and_numbers_without_a_range() -> None:
    mask, notes = to_mask(Image.new("L", (4, 4)))
    assert (np.asarray(mask).max(), notes) == (0, [])
    with pytest.raises(Unreadable, match="32 bits.*white on black"):
        to_mask(Image.new("F", (4, 4)))
