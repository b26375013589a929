"""Masks as people store them: white on black, numbers, palettes, transparency, 16 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

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


def test_every_colour_of_a_mask_is_marked_whether_light_or_dark() -> None:
    kinds = np.where(MARKED, 1 + np.arange(14) % 3, 0).astype(np.uint8)
    colours = np.array([[0, 0, 0], [128, 0, 0], [255, 255, 0], [0, 0, 20]], np.uint8)  # of which one alone is light
    palette = Image.fromarray(kinds).convert("L").convert("P")
    palette.putdata(kinds.flatten().tolist())
    palette.putpalette(colours.flatten().tolist())
    clear = Image.fromarray(
        np.concatenate([colours[kinds], np.where(MARKED, 255, 0)[..., None]], axis=2).astype(np.uint8)
    )
    for image in (palette, Image.fromarray(colours[kinds]), clear):
        marked, notes = found(image)
        assert np.array_equal(marked, MARKED)
        assert notes == ["its mask holds colours: all that is not black is marked"]


def test_noise_of_a_lossy_file_is_no_colour(tmp_path: Path) -> None:
    block = np.zeros((32, 32), np.uint8)
    block[8:20, 8:24] = 255
    tinted = np.stack([block, np.where(block, 250, 6), np.where(block, 247, 3)], axis=2).astype(np.uint8)
    for name in ("mask.jpg", "mask.webp"):
        Image.fromarray(tinted).save(tmp_path / name, quality=80)
        with Image.open(tmp_path / name) as image:
            marked, notes = found(image)
        assert notes == []
        assert np.array_equal(marked, block == 255)


def areas(*levels: int) -> Image.Image:
    """One square of each level, side by side on black."""
    values = np.zeros((9, 6 * len(levels)), np.uint8)
    for i, level in enumerate(levels):
        values[2:6, 6 * i + 1 : 6 * i + 5] = level
    return Image.fromarray(values)


@pytest.mark.parametrize("levels", [(85, 170), (1, 2, 255), (100, 200, 250)])
def test_numbers_on_either_side_of_half_white_are_refused(levels: tuple[int, ...]) -> None:
    values = ", ".join(map(str, levels))
    with pytest.raises(
        Unreadable, match=rf"holds the values {values} besides black, and {levels[0]} is no soft edge.*at most 127"
    ):
        to_mask(areas(*levels))
    thin = np.asarray(areas(*levels)).copy()
    thin[3:] = 0  # lines of one pixel
    if levels[0] > 16:
        with pytest.raises(Unreadable, match="no soft edge"):
            to_mask(Image.fromarray(thin))


def test_soft_edges_are_no_numbers() -> None:
    drawn = Image.new("L", (120, 120))
    draw = ImageDraw.Draw(drawn)
    draw.ellipse((10, 20, 60, 90), fill=255)
    draw.line((70, 5, 110, 115), fill=255, width=6)
    small = drawn.resize((60, 60), Image.Resampling.BOX)  # two by two pixels: the values 0, 64, 128, 192 and 255
    assert {64, 128, 192} <= set(np.unique(np.asarray(small)).tolist())
    for image in (small, drawn.filter(ImageFilter.GaussianBlur(4))):
        assert np.array_equal(found(image)[0], np.asarray(image) > 127)


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
