"""Fit policies, for pictures with their masks and for arrays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from sadm.core.errors import UserError
from sadm.data import Fit, ImageSet, open_source
from sadm.data.records import Unreadable


def noise(width: int, height: int, channels: int = 3) -> np.ndarray:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(width).integers(0, 256, shape, dtype=np.uint8)


def hamming(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.HAMMING))


def planes(pixels: np.ndarray) -> torch.Tensor:
    tensor = torch.from_numpy(np.array(pixels))
    return tensor[None, None] if tensor.ndim == 2 else tensor.permute(2, 0, 1)[None]


# ---- pictures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(40, 24), (24, 41), (24, 24), (7, 5)])
def test_crop_is_the_central_square_resized(size: tuple[int, int]) -> None:
    pixels, side = noise(*size), min(size)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    found = Fit(16).picture(Image.fromarray(pixels)).pixels
    assert np.array_equal(found[0], hamming(pixels[top : top + side, left : left + side], (16, 16)))


@pytest.mark.parametrize(("colour", "value"), [("white", 255), ("black", 0), ("edge", None)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pad_keeps_the_whole_image(colour: str, value: int | None, channels: int) -> None:
    pixels = noise(48, 20, channels)
    if channels == 4:
        pixels[..., 3] = 255
    found = Fit(16, channels, policy="pad", pad_colour=colour).picture(Image.fromarray(pixels)).pixels[0]  # type: ignore[arg-type]
    inner = hamming(pixels, (16, 7))  # 20 * 16 / 48
    assert np.array_equal(found[4:11], inner)
    for row, edge in ((0, 4), (3, 4), (11, 10), (15, 10)):
        expected = found[edge] if value is None else np.full_like(found[row], value)
        if value is not None and channels == 4:
            expected[..., 3] = 255
        assert np.array_equal(found[row], expected)


@pytest.mark.parametrize("size", [(60, 40), (40, 60), (20, 20)])
def test_random_crop_keeps_a_larger_image_whose_centre_is_the_picture(size: tuple[int, int]) -> None:
    pixels = noise(*size)
    fitted = Fit(16, policy="random-crop", crop_margin=0.25).picture(Image.fromarray(pixels))
    factor = 20 / min(size)
    whole = hamming(pixels, (round(size[0] * factor), round(size[1] * factor)))
    assert fitted.whole is not None
    assert np.array_equal(fitted.whole, whole)
    top, left = (whole.shape[0] - 16) // 2, (whole.shape[1] - 16) // 2
    assert np.array_equal(fitted.pixels[0], whole[top : top + 16, left : left + 16])


def test_without_a_margin_a_square_image_has_one_window() -> None:
    fitted = Fit(16, policy="random-crop", crop_margin=0).picture(Image.fromarray(noise(30, 30)))
    assert fitted.whole is not None
    assert np.array_equal(fitted.whole, Fit(16).picture(Image.fromarray(noise(30, 30))).pixels[0])


def test_an_image_smaller_than_a_tile_is_left_out_with_what_to_do() -> None:
    with pytest.raises(Unreadable, match=r"30 x 12 pixels are less than a tile of 16 x 16; take smaller tiles"):
        Fit(16, policy="tiles").picture(Image.fromarray(noise(30, 12)))
    with pytest.raises(Unreadable, match=r"30 x 40 pixels \(15 x 20 at --data\.scale 0\.5\) are less than a tile"):
        Fit(16, policy="tiles", scale=0.5).picture(Image.fromarray(noise(30, 40)))


# ---- masks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fit",
    [
        Fit(),
        Fit(16),
        Fit(16, policy="pad", pad_colour="white"),
        Fit(16, policy="tiles"),
        Fit(16, policy="random-crop"),
        Fit(16, policy="buckets"),
    ],
)
def test_a_mask_is_fitted_as_its_image(fit: Fit) -> None:
    pixels = np.zeros((48, 32), dtype=np.uint8)
    pixels[15:31, 5:21] = 255
    fitted = fit.picture(Image.fromarray(pixels), Image.fromarray(pixels), "a")
    assert fitted.masks is not None
    assert fitted.masks.shape == fitted.pixels.shape
    assert set(np.unique(fitted.masks)) == {0, 255}
    beside = np.zeros_like(fitted.pixels, dtype=bool)
    if fit.policy == "pad":  # what was padded is not marked, though it is white
        beside[0, :, :2] = beside[0, :, -3:] = True
    assert (fitted.masks[(fitted.pixels > 200) & ~beside] == 255).all()
    assert (fitted.masks[(fitted.pixels < 55) | beside] == 0).all()


def test_marks_that_are_thinner_than_a_pixel_stay_marked() -> None:
    marks, few = np.zeros((64, 64), dtype=np.uint8), np.zeros((640, 640), dtype=np.uint8)
    marks[10, 4:57] = 255  # a scratch of one pixel, of which the last place holds one pixel of 16
    few[300, 20] = 255  # one pixel of 1,600: less than half of a 255th
    expected = np.zeros((3, 16, 16), dtype=np.uint8)
    expected[0, 2, 1:14], expected[1, 7, 0] = 255, 255
    for level, mask in zip((marks, few, np.zeros_like(marks)), expected, strict=True):
        fitted = Fit(16).picture(Image.fromarray(level), Image.fromarray(level))
        assert fitted.masks is not None
        assert np.array_equal(fitted.masks[0], mask)
        assert fitted.marked == (bool(mask.any()),)
    assert Fit(16).picture(Image.fromarray(marks)).marked is None


def test_a_thin_end_of_a_thick_mark_is_not_marked() -> None:
    marks = np.zeros((64, 64), dtype=np.uint8)
    marks[8:16, 8:16], marks[10, 16:60] = 255, 255
    fitted = Fit(16).picture(Image.fromarray(marks), Image.fromarray(marks))
    assert fitted.masks is not None
    assert np.argwhere(fitted.masks[0]).tolist() == [[2, 2], [2, 3], [3, 2], [3, 3]]


# ---- arrays ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fit", [Fit(16), Fit(16, policy="pad"), Fit(16, policy="pad", pad_colour="white"), Fit(16, 1), Fit()]
)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(40, 24), (10, 13)])
def test_arrays_are_fitted_as_pictures(fit: Fit, channels: int, size: tuple[int, int]) -> None:
    pixels = noise(*size, channels)
    image = Image.fromarray(pixels)
    picture = fit.picture(image.convert("L") if fit.channels == 1 else image).pixels[0]
    found = fit.array(planes(pixels))
    assert found.shape == planes(picture).shape
    assert (found.int() - planes(picture).int()).abs().max() <= 1


def test_arrays_get_the_channels_that_were_asked_for() -> None:
    rgba = noise(9, 6, 4)
    grey, rgb = planes(rgba[..., 0]), planes(rgba[..., :3])
    opaque = torch.full_like(grey, 255)
    assert torch.equal(Fit(channels=3).array(grey), torch.cat([grey] * 3, dim=1))
    assert torch.equal(Fit(channels=4).array(grey), torch.cat([grey, grey, grey, opaque], dim=1))
    assert torch.equal(Fit(channels=4).array(rgb), torch.cat([rgb, opaque], dim=1))
    assert torch.equal(Fit(channels=1).array(rgb), planes(np.asarray(Image.fromarray(rgba[..., :3]).convert("L"))))
    share = rgba[..., 3:] / 255
    white = rgba[..., :3] * share + 255 * (1 - share)
    assert np.abs(Fit(channels=3).array(planes(rgba))[0].permute(1, 2, 0).numpy() - white).max() <= 0.5 + 1e-9


def test_arrays_know_crops_and_padding_alone() -> None:
    for policy in ("tiles", "random-crop", "buckets"):
        with pytest.raises(
            UserError, match=rf"--data\.fit {policy} is for image files.*9 x 6.*Use --data\.fit crop or pad"
        ):
            Fit(8, policy=policy).array(planes(noise(9, 6)))  # type: ignore[arg-type]


def test_made_images_know_crops_and_padding_alone_too() -> None:
    made = open_source("surfaces:count=2", fit=Fit(32, channels=4))
    colour = open_source("surfaces:count=2", fit=Fit(32, channels=3))
    assert isinstance(made, ImageSet)
    assert isinstance(colour, ImageSet)
    assert torch.equal(made.images[:, :3], colour.images)
    assert bool((made.images[:, 3] == 255).all())
    with pytest.raises(
        UserError, match=r"--data\.fit tiles is for image files; surfaces:count=2 makes images of the size"
    ):
        open_source("surfaces:count=2", fit=Fit(32, policy="tiles"))


# ---- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("scale", 0.0),
        ("scale", 1.5),
        ("crop_margin", -0.1),
        ("crop_margin", 2.0),
        ("white_level", 100),
        ("white_level", 70000),
        ("max_megapixels", 0.0),
        ("overlap", 0.95),
        ("bucket_multiple", 0),
    ],
)
def test_impossible_options_are_refused(option: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"--data\.{option.replace('_', '-')} is {value}; expected .*, such as"):
        Fit(**{option: value})  # type: ignore[arg-type]


def test_unknown_words_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"--data\.fit is stretch; expected one of crop, pad, random-crop, tiles, buckets"
    ):
        Fit(8, policy="stretch")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"--data\.pad-colour is pink; expected one of edge, white, black"):
        Fit(8, policy="pad", pad_colour="pink")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"--data\.resolution is 60; aspect buckets need a multiple"):
        Fit(60, policy="buckets")


@pytest.mark.parametrize("policy", ["pad", "random-crop", "tiles", "buckets"])
def test_all_policies_but_crop_need_a_resolution(policy: str) -> None:
    with pytest.raises(UserError, match=rf"--data\.fit {policy} needs a --data\.resolution, such as 64"):
        Fit(policy=policy)  # type: ignore[arg-type]
