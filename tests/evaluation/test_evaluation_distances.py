"""Fréchet and kernel distances, and nearest neighbours, against other formulas and plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg

from sadm.core.errors import UserError
from sadm.evaluation import GaussianFit, frechet_distance, kernel_distance, nearest_neighbours


def features(seed: int, count: int, length: int, spread: float = 1.0, shift: float = 0.0) -> np.ndarray:
    return shift + spread * np.random.default_rng(seed).standard_normal((count, length))


def distance(x: np.ndarray, y: np.ndarray) -> float:
    return frechet_distance(GaussianFit.of(x), GaussianFit.of(y))


# ---- Fréchet ---------------------------------------------------------------------------------------------------------


def test_it_equals_the_matrix_square_root_of_the_product() -> None:
    mixing = features(1, 64, 64) / 8 + np.eye(64)
    x, y = features(2, 400, 64) @ mixing, features(3, 500, 64, 1.5, 0.3)
    covariances = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    cross = np.trace(linalg.sqrtm(covariances[0] @ covariances[1])).real
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * cross
    assert distance(x, y) == pytest.approx(float(expected), rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(length=st.integers(1, 8), seed=st.integers(0, 10**6))
def test_commuting_covariances_have_a_closed_form(length: int, seed: int) -> None:
    draws = np.random.default_rng(seed)
    first, second, shift = draws.uniform(0, 4, length), draws.uniform(0.1, 4, length), draws.standard_normal(length)
    basis = np.linalg.qr(draws.standard_normal((length, length)))[0]
    fits = [GaussianFit(mean, basis @ np.diag(s**2) @ basis.T) for mean, s in [(shift, first), (0 * shift, second)]]
    expected = (shift**2).sum() + ((first - second) ** 2).sum()
    assert frechet_distance(*fits) == pytest.approx(float(expected), rel=1e-9)
    assert frechet_distance(*fits[::-1]) == pytest.approx(float(expected), rel=1e-9)


def test_one_feature_is_enough() -> None:
    x, y = features(4, 50, 1), features(5, 70, 1, 3.0, 2.0)
    expected = (x.mean() - y.mean()) ** 2 + (x.std(ddof=1) - y.std(ddof=1)) ** 2
    assert distance(x, y) == pytest.approx(float(expected), rel=1e-10)


@pytest.mark.parametrize(("first", "second"), [(5, 5), (12, 40), (40, 12), (2, 2)])
def test_fewer_images_than_features(first: int, second: int) -> None:
    x, y = features(6, first, 24), features(7, second, 24, 2.0, 0.5)
    c_x, c_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    # The product's non-zero eigenvalues are those of a small Gram matrix, with no square root of rounding noise.
    a, b = ((v - v.mean(0)) / math.sqrt(len(v) - 1) for v in (x, y))
    cross = linalg.svdvals(a @ b.T).sum()
    eigenvalues = np.sqrt(linalg.eigvals(c_x @ c_y).real.clip(0)).sum()
    assert cross == pytest.approx(float(eigenvalues), rel=1e-5)
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(c_x) + np.trace(c_y) - 2 * cross
    assert distance(x, y) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("count", [8, 200])
def test_equal_sets_are_no_distance_apart(count: int) -> None:
    x = features(8, count, 16)
    assert abs(distance(x, x[::-1])) < 1e-6
    assert distance(x, x + 1e-2) == pytest.approx(16 * 1e-4, abs=1e-6)


def test_a_fit_is_unbiased_and_in_double_precision() -> None:
    x = features(9, 30, 4).astype(np.float32)
    fit = GaussianFit.of(x)
    centred = x.astype(np.float64) - x.astype(np.float64).mean(0)
    np.testing.assert_allclose(fit.covariance, centred.T @ centred / 29, rtol=1e-12)
    assert fit.mean.dtype == fit.covariance.dtype == np.float64


@pytest.mark.parametrize("shape", [(1, 4), (0, 4), (4,), (3, 2, 2)])
def test_too_few_images_or_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"features \[N, d\] of at least 2 images, got shape"):
        GaussianFit.of(np.zeros(shape))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    x = features(10, 5, 3)
    broken = x.copy()
    broken[2, 1] = bad
    with pytest.raises(UserError, match="NaN or infinite"):
        GaussianFit.of(broken)
    for pair in [(x, broken), (broken, x)]:
        with pytest.raises(UserError, match="NaN or infinite"):
            kernel_distance(*pair)


def test_features_of_different_length_are_refused() -> None:
    with pytest.raises(UserError, match="different length: 3 and 4"):
        distance(features(1, 5, 3), features(1, 5, 4))
    with pytest.raises(UserError, match="different length: 3 and 4"):
        kernel_distance(features(1, 5, 3), features(1, 5, 4))


# ---- kernel ----------------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(n=st.integers(2, 6), m=st.integers(2, 6), length=st.integers(1, 4), seed=st.integers(0, 10**6))
def test_the_kernel_distance_equals_loops(n: int, m: int, length: int, seed: int) -> None:
    x, y = features(seed, n, length), features(seed + 1, m, length, 1.5)

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        product = 0.0
        for u, v in zip(a, b, strict=True):
            product += float(u) * float(v)
        return (product / length + 1) ** 3

    within_x = sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_y = sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    between = sum(kernel(a, b) for a in x for b in y) / (n * m)
    expected = within_x + within_y - 2 * between
    scale = abs(within_x) + abs(within_y) + abs(between)
    assert kernel_distance(x, y) == pytest.approx(expected, abs=1e-12 * scale)


def test_its_mean_over_equal_distributions_is_zero_and_over_others_is_not() -> None:
    same = [kernel_distance(features(2 * i, 10, 3), features(2 * i + 1, 15, 3)) for i in range(2000)]
    error = float(np.std(same)) / math.sqrt(len(same))
    assert abs(np.mean(same)) < 4 * error
    # The biased estimate, with the diagonal, would lie far off: by about E k(x, x) (1 / 10 + 1 / 15).
    assert error < 0.05 * (1 / 10 + 1 / 15) * 8
    other = [kernel_distance(features(2 * i, 10, 3), features(2 * i + 1, 15, 3, shift=0.5)) for i in range(500)]
    assert np.mean(other) > 20 * error


@pytest.mark.parametrize("shapes", [((1, 3), (5, 3)), ((5, 3), (1, 3)), ((0, 3), (5, 3)), ((5,), (5,)), ((5, 3), (5,))])
def test_sets_without_pairs_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(UserError, match=r"kernel distance needs features \[N, d\] of at least 2 images, got shape"):
        kernel_distance(np.zeros(shapes[0]), np.zeros(shapes[1]))


# ---- neighbours ------------------------------------------------------------------------------------------------------


def pictures(seed: int, count: int, *shape: int) -> torch.Tensor:
    return torch.rand(count, *(shape or (1, 4, 5)), generator=torch.Generator().manual_seed(seed)) * 2 - 1


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 5), m=st.integers(1, 12), chunk=st.integers(1, 14), seed=st.integers(0, 10**6))
def test_neighbours_equal_a_loop_whatever_the_chunk(n: int, m: int, chunk: int, seed: int) -> None:
    images, training = pictures(seed, n), pictures(seed + 1, m)
    index, found = nearest_neighbours(images, training, chunk)
    for i in range(n):
        distances = [float((images[i].double() - other.double()).square().mean().sqrt()) for other in training]
        assert int(index[i]) == int(np.argmin(distances))
        assert float(found[i]) == pytest.approx(min(distances), rel=1e-5)
    assert index.dtype == torch.int64


@pytest.mark.parametrize("position", [0, 29, 30, 31, 59, 60, 99])
def test_a_copy_is_found_at_distance_zero_on_either_side_of_a_chunks_border(position: int) -> None:
    """With many images at once, and far from the origin, where the product form of distances leaves a rest."""
    training = pictures(1, 100, 3, 16, 16) * 0.1 + 0.9
    images = pictures(2, 40, 3, 16, 16) * 0.1 + 0.9
    images[7] = training[position]
    index, found = nearest_neighbours(images, training, chunk=30)
    assert int(index[7]) == position
    assert float(found[7]) == 0
    assert float(found[torch.arange(40) != 7].min()) > 0.05


def test_a_nearly_copied_image_keeps_its_distance() -> None:
    training = pictures(3, 50, 1, 16, 16)
    images = training[:30] + 1e-4
    index, found = nearest_neighbours(images, training)
    assert index.tolist() == list(range(30))
    torch.testing.assert_close(found, torch.full((30,), 1e-4), rtol=1e-2, atol=0)
