"""What augmentation does to an image, by what it says it did; how often; and that nothing depends on the rest of a batch."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from scipy.spatial.transform import Rotation

from sadm.core.errors import UserError
from sadm.data import Augmentation, Augmenter
from sadm.data.augment import COLUMNS

ALL = {
    "flip_x": 1.0,
    "flip_y": 0.5,
    "stretch": 0.3,
    "scale": 0.4,
    "rotation": 180.0,
    "shift": 0.2,
    "saturation": 1.0,
    "hue": 180.0,
    "contrast": 0.5,
    "brightness": 0.3,
}


def images(count: int, channels: int = 3, height: int = 12, width: int = 10, seed: int = 0) -> torch.Tensor:
    """Smooth, so that splines and cubic convolution agree, and far from black and white."""
    draws = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, channels, 3, 3, generator=draws) - 0.5
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)


def augmented(
    x0: torch.Tensor, step: int = 0, probability: float = 1.0, **strengths: float
) -> tuple[torch.Tensor, dict[str, np.ndarray]]:
    """The images, and what was done to each by name."""
    augmenter = Augmenter(Augmentation(probability, **strengths), x0.shape[1])
    result, augment = augmenter(x0, augmenter.draws(7, step, len(x0)))
    assert augment.dtype == torch.float32
    assert result.dtype == torch.float32
    return result, dict(zip(augmenter.names, augment.double().T.numpy(), strict=True))


def mapped(image: torch.Tensor, matrix: np.ndarray) -> np.ndarray:
    """An image [C, H, W] whose offsets from the centre (row, column) are multiplied by `matrix`, by splines."""
    inverse, centre = np.linalg.inv(matrix), (np.array(image.shape[1:]) - 1) / 2
    return np.stack(
        [
            ndimage.affine_transform(channel, inverse, centre - inverse @ centre, order=3, mode="mirror")
            for channel in image.double().numpy()
        ]
    )


# ---- each transformation is what its columns say ---------------------------------------------------------------------


@pytest.mark.parametrize(("name", "axis"), [("flip_x", 2), ("flip_y", 1)])
def test_flips(name: str, axis: int) -> None:
    x0 = images(40)
    result, told = augmented(x0, **{name: 1.0})
    assert set(told[name]) == {0, 1}
    for image, new, flipped in zip(x0, result, told[name], strict=True):
        assert torch.equal(new, image.flip(axis) if flipped else image)


@pytest.mark.parametrize(("height", "width", "right", "down"), [(12, 10, 2, 2), (40, 8, 1, 6), (3, 3, 1, 1)])
def test_shifts_are_whole_pixels(height: int, width: int, right: int, down: int) -> None:
    """0.15 of the side, rounded, and at least one pixel; all of them are equally likely."""
    x0 = images(300, 1, height, width)
    result, told = augmented(x0, shift=0.15)
    x, y = told["shift_x"] * width / 8, told["shift_y"] * height / 8
    for image, new, by_x, by_y in zip(x0, result, x.round().astype(int), y.round().astype(int), strict=True):
        wide = np.pad(image.numpy(), ((0, 0), (10, 10), (10, 10)), mode="reflect")
        expected = wide[:, 10 - by_y : 10 - by_y + height, 10 - by_x : 10 - by_x + width]
        assert np.array_equal(new.numpy(), expected)
    for pixels, most in ((x, right), (y, down)):
        np.testing.assert_allclose(pixels, pixels.round(), atol=1e-5)
        counts = np.unique(pixels.round(), return_counts=True)
        assert counts[0].tolist() == list(range(-most, most + 1))
        assert stats.chisquare(counts[1]).pvalue > 1e-3
    assert len({*zip(x.round(), y.round(), strict=True)}) > 2 * right + 1  # the two are independent


def test_rotations_are_counter_clockwise() -> None:
    x0 = images(30, height=20, width=18)
    result, told = augmented(x0, rotation=90)
    angles = np.arctan2(told["rotation_sin"], told["rotation_cos"] + 1)
    assert -math.pi / 2 <= angles.min() < -1
    assert 1 < angles.max() <= math.pi / 2
    for image, new, angle in zip(x0, result, angles, strict=True):
        cos, sin = math.cos(angle), math.sin(angle)
        expected = mapped(image, np.array([[cos, -sin], [sin, cos]]))  # of (row, column): right goes up
        np.testing.assert_allclose(new, expected, rtol=0, atol=0.015)


def test_a_quarter_turn_is_exact() -> None:
    x0 = images(1, height=9, width=9)
    augmenter = Augmenter(Augmentation(1.0, rotation=180), 3)
    for draw, quarters in ((0.75, 1), (0.25, -1)):  # halfway to 180 degrees
        result, augment = augmenter(x0, torch.full_like(augmenter.draws(0, 0, 1), draw))
        torch.testing.assert_close(result, x0.rot90(quarters, (2, 3)), rtol=0, atol=1e-6)
        torch.testing.assert_close(augment, torch.tensor([[-1.0, quarters]]))


@pytest.mark.parametrize("name", ["scale", "stretch"])
def test_sizes(name: str) -> None:
    x0 = images(30, height=20, width=18)
    result, told = augmented(x0, **{name: 0.3})
    factors = 2 ** (0.2 * told[name])
    assert 1 / 1.3 <= factors.min() < 0.85
    assert 1.15 < factors.max() <= 1.3
    for image, new, factor in zip(x0, result, factors, strict=True):
        tall, wide = (factor, factor) if name == "scale" else (factor**-0.5, factor**0.5)
        np.testing.assert_allclose(new, mapped(image, np.diag([tall, wide])), rtol=0, atol=0.015)


@pytest.mark.parametrize("channels", [1, 3])
def test_brightness_and_contrast(channels: int) -> None:
    x0 = (1.5 * images(50, channels)).clamp(-1, 1)
    result, told = augmented(x0, brightness=0.1, contrast=0.5)
    added, factor = 0.1 * told["brightness"], 2 ** (0.5 * told["contrast"])
    assert 0.09 < np.abs(added).max() <= 0.1
    assert 1 / 1.5 <= factor.min() < 0.75 < 1.4 < factor.max() <= 1.5
    expected = x0.double().numpy() * factor[:, None, None, None] + 2 * added[:, None, None, None]
    assert np.abs(expected).max() > 1  # so that the bounds are met with, too
    np.testing.assert_allclose(result, expected.clip(-1, 1), rtol=0, atol=1e-6)


def test_hue_and_saturation() -> None:
    x0 = 0.4 * images(40)
    result, told = augmented(x0, hue=180, saturation=0.8)
    angles, factors = np.arctan2(told["hue_sin"], told["hue_cos"] + 1), 2 ** told["saturation"]
    assert 1 / 1.8 <= factors.min() < 0.65 < 1.6 < factors.max() <= 1.8
    assert np.abs(angles).max() > 3
    for image, new, angle, factor in zip(x0, result, angles, factors, strict=True):
        colours = image.flatten(1).double().numpy()
        turned = Rotation.from_rotvec(angle * np.ones(3) / math.sqrt(3)).as_matrix() @ colours
        grey = colours.mean(0)
        np.testing.assert_allclose(new.flatten(1), grey + factor * (turned - grey), rtol=0, atol=1e-5)


def test_a_third_of_a_turn_of_the_hue_is_red_to_green() -> None:
    x0 = images(1)
    augmenter = Augmenter(Augmentation(1.0, hue=120), 3)
    result, _ = augmenter(x0, torch.full_like(augmenter.draws(0, 0, 1), 1 - 1e-12))
    torch.testing.assert_close(result, x0[:, [2, 0, 1]], rtol=0, atol=1e-6)


def test_the_order_of_all() -> None:
    """Draws of 3/4: no flip, halfway to the largest amount of all else. Squares, quarter turns and whole pixels: exact."""
    x0 = images(1, height=16, width=16, seed=1)
    augmenter = Augmenter(Augmentation(1.0, rotation=180, shift=0.25, brightness=0.2, contrast=0.4), 3)
    draws = torch.full_like(augmenter.draws(0, 0, 1), 0.75)
    result, _ = augmenter(x0, draws)
    turned = np.pad(np.rot90(x0[0].numpy(), axes=(1, 2)), ((0, 0), (8, 8), (8, 8)), mode="reflect")
    moved = turned[:, 6:22, 6:22]  # by floor(0.75 * 9) - 4 = 2 pixels, right and down
    expected = moved * 1.4**0.5 + 2 * 0.1
    np.testing.assert_allclose(result[0], expected.clip(-1, 1), rtol=0, atol=1e-5)

    draws[:, 0, 0] = 0.0  # now flipped, before it is turned
    flipped, _ = Augmenter(Augmentation(1.0, flip_x=1.0, rotation=180), 3)(x0, draws)
    np.testing.assert_allclose(flipped[0], np.rot90(x0[0].flip(2).numpy(), axes=(1, 2)), rtol=0, atol=1e-5)


# ---- how often, and what is left alone -------------------------------------------------------------------------------


def test_all_off_is_nothing() -> None:
    x0 = images(5)
    augmenter = Augmenter(Augmentation(1.0), 3)
    result, augment = augmenter(x0, augmenter.draws(0, 0, 5))
    assert augmenter.names == ()
    assert augment.shape == (5, 0)
    assert torch.equal(result, x0)


def test_a_row_is_zero_just_where_an_image_is_untouched() -> None:
    x0 = 0.9 * images(2000, 3, 6, 6)
    before = x0.clone()
    augmenter = Augmenter(Augmentation(0.05, **{**ALL, "flip_x": 0.1, "flip_y": 0.1}), 3)
    result, augment = augmenter(x0, augmenter.draws(0, 0, len(x0)))
    assert torch.equal(x0, before)
    same = (result == x0).flatten(1).all(1)
    assert torch.equal(augment.eq(0).all(1), same)
    assert len(augmenter.names) == augment.shape[1] == sum(len(columns) for columns in COLUMNS.values())
    assert float(result.abs().max()) <= 1


def test_shares_are_binomial() -> None:
    x0, probability = torch.zeros(4000, 3, 4, 4), 0.12
    _, told = augmented(x0, probability=probability, **ALL)
    for kind, columns in COLUMNS.items():
        expected = {"flip_x": 0.5, "flip_y": 0.25}.get(kind, probability)
        if kind == "shift":
            expected *= 1 - 1 / 9  # one of the 3 x 3 shifts is none
        touched = int((np.stack([told[name] for name in columns]) != 0).any(0).sum())
        assert stats.binomtest(touched, 4000, expected).pvalue > 1e-4, kind


def test_amounts_are_uniform_to_both_sides() -> None:
    _, told = augmented(torch.zeros(2000, 3, 4, 4), **ALL)
    largest = {"stretch": math.log2(1.3) / 0.2, "scale": math.log2(1.4) / 0.2, "saturation": 1, "brightness": 3}
    for name, most in {**largest, "contrast": math.log2(1.5) / 0.5}.items():
        assert stats.kstest(told[name], "uniform", (-most, 2 * most)).pvalue > 1e-4, name
    assert np.abs(np.corrcoef(list(told.values())) - np.eye(len(told))).max() < 0.12  # 5 standard deviations


def test_columns_do_not_depend_on_strengths() -> None:
    """A model can be continued with others, and its columns still mean the same."""
    x0 = images(20)
    _, weak = augmented(x0, scale=0.2, rotation=10, shift=0.1, contrast=0.1)
    _, strong = augmented(x0, scale=0.4, rotation=20, shift=0.2, contrast=0.3)
    for name, ratio in (("scale", math.log2(1.4) / math.log2(1.2)), ("contrast", math.log2(1.3) / math.log2(1.1))):
        np.testing.assert_allclose(strong[name], ratio * weak[name], rtol=1e-5)
    np.testing.assert_allclose(np.arcsin(strong["rotation_sin"]), 2 * np.arcsin(weak["rotation_sin"]), rtol=1e-4)


# ---- draws -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_parts_of_a_batch_are_the_batch_bit_for_bit(channels: int) -> None:
    x0 = images(23, channels)
    on = {name: value for name, value in ALL.items() if channels == 3 or name not in ("saturation", "hue")}
    augmenter = Augmenter(Augmentation(0.5, **on), channels)
    draws = augmenter.draws(3, 17, 23)
    whole, told = augmenter(x0, draws)
    for size in (1, 2, 11, 12):
        parts = [augmenter(x0[i : i + size], draws[i : i + size]) for i in range(0, 23, size)]
        assert torch.equal(torch.cat([image for image, _ in parts]), whole)
        assert torch.equal(torch.cat([row for _, row in parts]), told)


def test_seeds_and_steps_differ_and_repeat() -> None:
    tables = {name: Augmenter.draws(*key, 4) for name, key in {"a": (0, 0), "b": (0, 1), "c": (1, 0)}.items()}
    assert torch.equal(tables["a"], Augmenter.draws(0, 0, 4))
    assert not any(torch.equal(tables["a"], tables[name]) for name in "bc")


def test_a_transformation_changes_nothing_in_the_draws_of_others() -> None:
    x0 = images(30)
    _, alone = augmented(x0, probability=0.5, scale=0.4)
    _, among = augmented(x0, probability=0.5, **ALL)
    assert np.array_equal(alone["scale"], among["scale"])


# ---- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Augmentation)])
@pytest.mark.parametrize("value", [-0.1, 180.1, math.nan])
def test_values_out_of_range_are_refused(name: str, value: float) -> None:
    most = 180 if name in ("rotation", "hue") else 1
    with pytest.raises(
        UserError, match=rf"augmentation: {name} is {value}; expected a number from 0 \(off\) to {most}\."
    ):
        Augmentation(**{name: value})


@pytest.mark.parametrize("name", ["saturation", "hue"])
def test_what_channels_do_not_allow_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=rf"{name} can't be changed in images of 1 channel; expected 3.*channels 3"):
        Augmenter(Augmentation(**{name: 0.5}), 1)
    for kind in ("contrast", "brightness"):
        with pytest.raises(UserError, match=rf"{kind} can't be changed in images of 4 channels; expected 1 or 3"):
            Augmenter(Augmentation(**{kind: 0.5}), 4)
    assert Augmenter(Augmentation(rotation=5), 4).names == ("rotation_cos", "rotation_sin")
    assert Augmenter(Augmentation(contrast=0.5, brightness=0.1), 1).names == ("contrast", "brightness")
