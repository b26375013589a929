"""Resizing: no haloes beside lines, and the same numbers for pictures and for arrays."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.resampling import drawing
from sadm.data.resampling import filter_weights, resize_array, resize_bicubic, resize_picture


def array_of(image: Image.Image) -> torch.Tensor:
    pixels = np.array(image)
    return torch.from_numpy(pixels if pixels.ndim == 3 else pixels[..., None]).permute(2, 0, 1)[None]


@pytest.mark.parametrize("side", [64, 100, 256])
@pytest.mark.parametrize(("ground", "ink"), [(200, 40), (128, 0), (60, 230)])
def test_lines_have_no_haloes(side: int, ground: int, ink: int) -> None:
    image = drawing(ground, ink)
    low, high = min(ground, ink), max(ground, ink)
    for found in (np.asarray(resize_picture(image, (side, side))), resize_array(array_of(image), (side, side)).numpy()):
        assert found.min() >= low
        assert found.max() <= high
    for halo in (Image.Resampling.LANCZOS, Image.Resampling.BICUBIC):  # why it is not one of these
        others = np.asarray(image.resize((side, side), halo))
        assert (others.min() < low) or (others.max() > high)
        assert ((others < low) | (others > high)).mean() > 0.05


@pytest.mark.parametrize(
    ("size", "target"), [((60, 40), (16, 16)), ((500, 333), (64, 48)), ((7, 5), (31, 20)), ((9, 1), (4, 4))]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_and_arrays_agree_within_rounding(
    size: tuple[int, int], target: tuple[int, int], channels: int
) -> None:
    shape = size[::-1] if channels == 1 else (*size[::-1], channels)
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8))
    from_picture = array_of(resize_picture(image, target)).int()
    from_array = resize_array(array_of(image).repeat(2, 1, 1, 1), target).int()
    assert from_array.shape == (2, channels, target[1], target[0])
    assert (from_array - from_picture).abs().max() <= 1


def test_hidden_colours_do_not_leak_into_seen_ones() -> None:
    rgba = np.zeros((64, 64, 4), dtype=np.uint8)
    rgba[..., 0] = 255  # transparent red beside opaque green
    rgba[:, 30:] = (0, 255, 0, 255)
    image = Image.fromarray(rgba)
    for found in (array_of(resize_picture(image, (10, 10)))[0], resize_array(array_of(image), (10, 10))[0]):
        seen = found[3] > 8
        assert bool(seen.any())
        assert found[0][seen].max() <= 1
        assert found[1][seen].min() >= 254


def test_the_matrix_against_the_formula() -> None:
    length, target = 23, 7
    weights = filter_weights(length, target)
    scale = length / target
    for i in range(target):
        row = []
        for j in range(length):
            x = (j + 0.5 - (i + 0.5) * scale) / scale
            sinc = 1.0 if x == 0 else math.sin(math.pi * x) / (math.pi * x)
            row.append(sinc * (0.54 + 0.46 * math.cos(math.pi * x)) if abs(x) < 1 else 0.0)
        assert weights[i].tolist() == pytest.approx([value / sum(row) for value in row], abs=1e-6)


def test_nothing_changes_at_its_own_size_and_bicubic_stays_as_it_was() -> None:
    images = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(resize_array(images, (8, 8)), images)
    expected = torch.nn.functional.interpolate(images.float(), size=(5, 6), mode="bicubic", antialias=True)
    assert torch.equal(resize_bicubic(images, (6, 5)), expected.round().clamp(0, 255).to(torch.uint8))
