"""PSNR, SSIM and the accuracy of lines, against definitions written as loops and cases that can be counted."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sadm.core.seeds import generator
from sadm.evaluation.fidelity import feature_distance, line_accuracy, psnr, ssim


def images(seed: int, *shape: int) -> torch.Tensor:
    draws = torch.randn(*(shape or (2, 3, 14, 13)), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (draws * 0.4).clamp(-1, 1)


def test_psnr_is_that_of_bytes() -> None:
    first, second = images(1), images(2)
    as_bytes = 127.5 * (first - second)
    expected = 10 * torch.log10(255**2 / as_bytes.square().mean((1, 2, 3)))
    torch.testing.assert_close(psnr(first, second), expected)
    assert psnr(first, first).tolist() == [math.inf, math.inf]


def test_ssim_is_the_mean_over_windows() -> None:
    """Over every window of 11x11 pixels that fits into a channel, weighted by a Gaussian."""
    first, second = images(1).numpy(), (0.7 * images(1) + 0.3 * images(2)).numpy()
    place = np.arange(-5, 6)
    weights = np.exp(-(place**2) / (2 * 1.5**2))
    weights = np.outer(weights, weights) / weights.sum() ** 2
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    expected = []
    for a, b in zip(first, second, strict=True):
        values = []
        for x, y in zip(a, b, strict=True):
            for top in range(14 - 10):
                for left in range(13 - 10):
                    u, v = x[top : top + 11, left : left + 11], y[top : top + 11, left : left + 11]
                    mu, nu = (weights * u).sum(), (weights * v).sum()
                    var_u, var_v = (weights * (u - mu) ** 2).sum(), (weights * (v - nu) ** 2).sum()
                    both = (weights * (u - mu) * (v - nu)).sum()
                    values.append((2 * mu * nu + c1) * (2 * both + c2) / ((mu**2 + nu**2 + c1) * (var_u + var_v + c2)))
        expected.append(np.mean(values))
    np.testing.assert_allclose(ssim(torch.from_numpy(first), torch.from_numpy(second)).numpy(), expected, rtol=1e-9)


def test_ssim_of_equal_images_is_one_at_any_size() -> None:
    for side in (4, 8, 11, 20):
        one = images(3, 2, 1, side, side)
        torch.testing.assert_close(ssim(one, one), torch.ones(2, dtype=torch.float64))
        assert float(ssim(one, images(4, 2, 1, side, side)).max()) < 0.9


def responses(image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Convolution [32, H, W] of [C, H, W], borders repeated, cut off at 0; one number after the other."""
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)), mode="edge")
    height, width = image.shape[1:]
    found = np.empty((len(weights), height, width))
    for row in range(height):
        for column in range(width):
            found[:, row, column] = (weights * padded[None, :, row : row + 3, column : column + 3]).sum((1, 2, 3))
    return np.maximum(found, 0)


def test_the_distance_in_features_is_that_of_unit_vectors_at_each_place() -> None:
    draws = generator(0, "features of fidelity", 3)
    first = torch.randn(32, 3, 3, 3, generator=draws, dtype=torch.float64).numpy() / 27**0.5
    second = torch.randn(32, 32, 3, 3, generator=draws, dtype=torch.float64).numpy() / 288**0.5
    pair = [images(1, 1, 3, 6, 8), images(2, 1, 3, 6, 8)]
    layers = []
    for image in pair:
        own = []
        for x in (image[0].numpy(), image[0].unfold(1, 2, 2).unfold(2, 2, 2).mean((3, 4)).numpy()):
            low = responses(x, first)
            own += [low, responses(low, second)]
        layers.append(own)
    expected = []
    for ours, theirs in zip(*layers, strict=True):
        places = [
            np.square(a / np.linalg.norm(a) - b / np.linalg.norm(b)).sum()
            for a, b in zip(ours.reshape(32, -1).T, theirs.reshape(32, -1).T, strict=True)
        ]
        expected.append(np.mean(places))
    assert float(feature_distance(*pair)) == pytest.approx(np.mean(expected), rel=1e-9)
    assert float(feature_distance(pair[0], pair[0])) == 0
    with pytest.raises(ValueError, match="expected two sets of images"):
        feature_distance(pair[0], pair[1][0])


def square(left: int, side: int = 8) -> torch.Tensor:
    image = torch.full((1, 1, 24, 24), -1.0)
    image[..., 8 : 8 + side, left : left + side] = 1
    return image


def test_lines_that_moved_by_more_than_the_tolerance_do_not_count() -> None:
    assert float(line_accuracy(square(8), square(8))) == 1
    assert float(line_accuracy(square(9), square(8))) == 1  # within one pixel
    moved = [float(line_accuracy(square(8 + by), square(8))) for by in (3, 5)]
    assert 0.2 < moved[1] <= moved[0] < 0.9  # upper and lower sides still lie on each other in part
    assert float(line_accuracy(square(9), square(8), tolerance=0)) < 0.8
    far = torch.full((1, 1, 24, 24), -1.0)
    far[..., :3, :3] = 1
    assert float(line_accuracy(far, square(14))) == 0


def test_invented_and_missing_lines_cost_as_counted() -> None:
    """Two equal squares, of which one is missing: all that is found is right, and half of what there is is found."""
    both = torch.maximum(square(1, 6), square(15, 6))
    assert float(line_accuracy(square(1, 6), both)) == pytest.approx(2 * 1 * 0.5 / 1.5)
    assert float(line_accuracy(both, square(1, 6))) == pytest.approx(2 * 0.5 * 1 / 1.5)


def test_without_edges_there_is_nothing_to_miss() -> None:
    flat = torch.zeros(1, 1, 9, 9)
    assert float(line_accuracy(flat, flat + 0.3)) == 1
    assert float(line_accuracy(flat, flat + 0.01 * images(1, 1, 1, 9, 9).float())) == 1  # below the least step
    assert float(line_accuracy(flat, square(8)[..., :9, :9])) == 0


@pytest.mark.parametrize("measure", [psnr, ssim, line_accuracy])
def test_images_of_different_shapes_are_refused(measure) -> None:
    with pytest.raises(ValueError, match=r"expected two sets of images \[N, C, H, W\], got"):
        measure(images(1), images(1)[:1])
    with pytest.raises(ValueError, match="expected two sets of images"):
        measure(images(1)[0], images(1)[0])
