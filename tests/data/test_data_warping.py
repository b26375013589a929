"""Resampling against scipy, Pillow, numpy and polynomials; and that an image does not see the others in its batch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from sadm.data import warping
from sadm.data.warping import Warp, warp


def by(stretch: tuple[float, float] = (1, 1), degrees: float = 0, shift: tuple[float, float] = (0, 0)) -> Warp:
    angle = math.radians(degrees)
    rows = (stretch, (math.cos(angle), math.sin(angle)), shift)
    return Warp(*(torch.tensor([row], dtype=torch.float64) for row in rows))


def repeated(one: Warp, count: int) -> Warp:
    return Warp(*(part.expand(count, 2) for part in vars(one).values()))


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 2 * torch.rand(shape, generator=torch.Generator().manual_seed(seed)) - 1


def smooth(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Waves of at least 8 pixels, [1, 1, H, W]."""
    draws = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    image = np.zeros((height, width))
    for angle in draws.uniform(0, math.pi, 6):
        length, phase = draws.uniform(8, 20), draws.uniform(0, 2 * math.pi)
        image += np.cos(2 * math.pi / length * (math.cos(angle) * rows + math.sin(angle) * columns) + phase)
    return torch.from_numpy(image / np.abs(image).max()).float()[None, None]


def to_source(stretch: tuple[float, float], degrees: float) -> np.ndarray:
    """From a new pixel's offset (row, column) from the centre to the old one's."""
    a = math.radians(degrees)
    # Counter-clockwise as seen: a point on the right (column 1) goes up (row -1).
    forward = np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]]) @ np.diag([stretch[1], stretch[0]])
    return np.linalg.inv(forward)


def by_scipy(
    image: torch.Tensor, stretch: tuple[float, float], degrees: float, shift: tuple[float, float]
) -> np.ndarray:
    matrix, centre = to_source(stretch, degrees), (np.array(image.shape[2:]) - 1) / 2
    offset = centre - matrix @ (centre + np.array([shift[1], shift[0]]))
    return ndimage.affine_transform(image[0, 0].double().numpy(), matrix, offset, order=3, mode="mirror")


@pytest.mark.parametrize("size", [(7, 7), (8, 8), (5, 9), (1, 6), (1, 1)])
def test_nothing_done_is_bit_for_bit_nothing(size: tuple[int, int]) -> None:
    image = noise(2, 3, *size)
    assert torch.equal(warp(image, repeated(by(), 2)), image)


@pytest.mark.parametrize(("right", "down"), [(1, 0), (-3, 2), (0, -4), (7, -19), (40, 33)])
def test_whole_shifts_are_exact_and_the_border_is_a_mirror(right: int, down: int) -> None:
    image = noise(1, 2, 8, 6)
    wide = np.pad(image[0].numpy(), ((0, 0), (50, 50), (50, 50)), mode="reflect")
    expected = wide[:, 50 - down : 58 - down, 50 - right : 56 - right]
    assert np.array_equal(warp(image, by(shift=(right, down)))[0].numpy(), expected)


@pytest.mark.parametrize("side", [4, 7])
@pytest.mark.parametrize("quarters", [-1, 1, 2, 3])
def test_quarter_turns_are_those_of_numpy(side: int, quarters: int) -> None:
    image = noise(1, 3, side, side)
    expected = np.rot90(image.numpy(), quarters, axes=(2, 3))
    np.testing.assert_allclose(warp(image, by(degrees=90 * quarters)), expected, rtol=0, atol=1e-6)


MOVES = [((1, 1), 30, (0, 0)), ((1.3, 1.3), 0, (2, -3)), ((1.25, 1.0), -70, (0, 1)), ((1.1, 1.4), 200, (-2, 0))]


@pytest.mark.parametrize(("stretch", "degrees", "shift"), MOVES)
def test_it_is_the_affine_map_that_scipy_computes(stretch: tuple, degrees: float, shift: tuple) -> None:
    """Borders included. Splines and cubic convolution differ by up to 1 % on waves of 8 pixels."""
    for size in ((24, 24), (18, 27)):
        image = smooth(*size)
        expected = by_scipy(image, stretch, degrees, shift)
        np.testing.assert_allclose(warp(image, by(stretch, degrees, shift))[0, 0], expected, rtol=0, atol=0.015)
        assert np.abs(by_scipy(image, stretch, degrees + 2, shift) - expected).max() > 0.06  # two degrees would show


@pytest.mark.parametrize(("stretch", "degrees", "shift"), MOVES)
def test_surfaces_of_second_degree_are_exact(stretch: tuple, degrees: float, shift: tuple) -> None:
    """What Keys's kernel with a = -1/2 does, and no other a; away from the border, where the mirror image begins."""

    def surface(row: np.ndarray, column: np.ndarray) -> np.ndarray:
        return 0.3 + 0.02 * row - 0.05 * column + 0.004 * row * column - 0.003 * row**2 + 0.002 * column**2

    rows, columns = np.mgrid[:20, :26].astype(float)
    image = torch.from_numpy(surface(rows - 9.5, columns - 12.5)).float()[None, None]
    found = warp(image, by(stretch, degrees, shift))[0, 0].numpy()
    offsets = np.stack([rows - 9.5 - shift[1], columns - 12.5 - shift[0]]).reshape(2, -1)
    row, column = (to_source(stretch, degrees) @ offsets).reshape(2, 20, 26)
    inside = (np.abs(row) < 7.5) & (np.abs(column) < 10.5)
    assert inside.mean() > 0.3
    np.testing.assert_allclose(found[inside], surface(row, column)[inside], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("side", "new"), [(40, 32), (40, 20), (45, 39)])
def test_shrinking_is_pillows(side: int, new: int) -> None:
    """Antialiased bicubic, away from the border. Waves of 8 pixels and more are not the worse for two steps, by 1 %."""
    image, border = smooth(side, side), (side - new) // 2
    expected = Image.fromarray(image[0, 0].numpy()).resize((new, new), Image.Resampling.BICUBIC)
    found = warp(image, by((new / side, new / side)))[0, 0, border : border + new, border : border + new]
    np.testing.assert_allclose(found[4:-4, 4:-4], np.asarray(expected)[4:-4, 4:-4], rtol=0, atol=0.01)


@pytest.mark.parametrize("frequency", [0.42, 0.46])  # of the Nyquist frequency's 0.5
def test_what_would_alias_is_smoothed_as_by_pillow(frequency: float) -> None:
    wave = torch.cos(2 * math.pi * frequency * torch.arange(100.0) + 0.3).expand(1, 1, 100, 100).contiguous()
    pillow = np.asarray(Image.fromarray(wave[0, 0].numpy()).resize((70, 70), Image.Resampling.BICUBIC))[:, 5:-5]
    found = warp(wave, by((0.7, 0.7)))[0, 0, 15:85, 20:80]
    assert float(found.std()) < 1.05 * pillow.std() < 0.3 * float(wave.std())
    # One axis shrinks, the other does not: it keeps its wave.
    other = warp(wave.mT, by((0.7, 1.0)))[0, 0, 20:80, 20:80]
    torch.testing.assert_close(other, wave.mT[0, 0, 20:80, 20:80], rtol=0, atol=1e-5)


def test_a_flat_image_stays_flat() -> None:
    image = torch.full((1, 1, 12, 9), 0.7)
    torch.testing.assert_close(warp(image, by((0.6, 0.9), 33, (2, 1))), image, rtol=0, atol=1e-6)


def test_an_image_does_not_see_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    images, draws = noise(9, 2, 11, 13), torch.Generator().manual_seed(3)
    angle = 2 * math.pi * torch.rand(9, generator=draws, dtype=torch.float64)
    moves = Warp(
        stretch=0.6 + torch.rand(9, 2, generator=draws, dtype=torch.float64),
        turn=torch.stack([angle.cos(), angle.sin()], dim=1),
        shift=torch.randint(-3, 4, (9, 2), generator=draws).double(),
    )
    together = warp(images, moves)
    alone = torch.cat([warp(images[i : i + 1], moves[i : i + 1]) for i in range(9)])
    assert torch.equal(together, alone)
    monkeypatch.setattr(warping, "_PIXELS_AT_A_TIME", 4 * 11 * 13)
    assert torch.equal(warp(images, moves), together)
    assert warp(images[:0], moves[:0]).shape == (0, 2, 11, 13)
