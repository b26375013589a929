"""The fast Fréchet distance where covariances are singular, badly scaled or not covariances; and at infinite N."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg

from sadm.core.errors import UserError
from sadm.evaluation import GaussianFit, effective_dimension, frechet_distance, frechet_limit


def features(seed: int, count: int, length: int, scales: np.ndarray | float = 1.0, shift: float = 0.0) -> np.ndarray:
    return shift + scales * np.random.default_rng(seed).standard_normal((count, length))


def with_spectrum(seed: int, spectrum: np.ndarray) -> GaussianFit:
    draws = np.random.default_rng(seed)
    basis = np.linalg.qr(draws.standard_normal((len(spectrum), len(spectrum))))[0]
    covariance = basis @ np.diag(spectrum) @ basis.T
    return GaussianFit(draws.standard_normal(len(spectrum)), (covariance + covariance.T) / 2)


def by_singular_values(first: GaussianFit, second: GaussianFit) -> float:
    """With the square roots of both covariances: tr (C1 C2)^1/2 is the nuclear norm of C1^1/2 C2^1/2."""
    roots = []
    for fit in (first, second):
        values, vectors = linalg.eigh(fit.covariance)
        roots.append((vectors * np.sqrt(values.clip(min=0))) @ vectors.T)
    difference = first.mean - second.mean
    cross = linalg.svdvals(roots[0] @ roots[1]).sum()
    return float(difference @ difference + np.trace(first.covariance) + np.trace(second.covariance) - 2 * cross)


def test_it_equals_the_square_root_of_the_product_in_many_dimensions() -> None:
    x, y = features(1, 1500, 512, np.linspace(0.5, 2, 512)), features(2, 1200, 512, shift=0.05)
    fits = GaussianFit.of(x), GaussianFit.of(y)
    covariances = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    cross = np.trace(linalg.sqrtm(covariances[0] @ covariances[1])).real
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * cross
    assert frechet_distance(*fits) == pytest.approx(float(expected), rel=1e-9)
    assert frechet_distance(*fits[::-1]) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("decades", [2, 5, 8, 12])
def test_spectra_over_many_decades(decades: int) -> None:
    """The quick way is left where it would show."""
    first, second = (with_spectrum(seed, np.logspace(0, -decades, 60)) for seed in (1, 2))
    assert frechet_distance(first, second) == pytest.approx(by_singular_values(first, second), rel=1e-7)
    near = GaussianFit(first.mean + 1e-4, first.covariance * 1.0001)
    expected = 60 * 1e-8 + np.trace(first.covariance) * (1.0001**0.5 - 1) ** 2
    assert frechet_distance(first, near) == pytest.approx(expected, rel=1e-5, abs=1e-13)


@pytest.mark.parametrize("counts", [(20, 30), (20, 300), (300, 20)])
def test_singular_covariances_give_the_same_with_and_without_the_features_behind_them(counts: tuple[int, int]) -> None:
    fits = [GaussianFit.of(features(seed, count, 50, shift=seed)) for seed, count in enumerate(counts)]
    matrices = [GaussianFit(fit.mean, fit.covariance) for fit in fits]
    assert [fit.factor is not None for fit in fits] == [count <= 50 for count in counts]
    assert frechet_distance(*fits) == pytest.approx(frechet_distance(*matrices), rel=1e-8)
    for fit in fits:
        np.testing.assert_allclose(fit.root.T @ fit.root, fit.covariance, atol=1e-12)
    assert len(matrices[0].root) == min(counts[0] - 1, 50)


def test_constant_features_leave_the_distance_of_means() -> None:
    constant, varied = GaussianFit.of(np.full((9, 4), 3.0)), GaussianFit.of(features(3, 40, 4))
    assert frechet_distance(constant, GaussianFit.of(np.full((7, 4), 1.0))) == pytest.approx(4 * 2.0**2)
    expected = ((varied.mean - 3) ** 2).sum() + np.trace(varied.covariance)
    assert frechet_distance(constant, varied) == pytest.approx(float(expected), rel=1e-12)
    assert frechet_distance(varied, constant) == pytest.approx(float(expected), rel=1e-12)
    some = features(4, 60, 5)
    some[:, 2] = 7
    assert frechet_distance(GaussianFit.of(some), GaussianFit.of(some + 1)) == pytest.approx(5, rel=1e-9)


def test_a_matrix_with_a_negative_eigenvalue_is_no_covariance() -> None:
    wrong = GaussianFit(np.zeros(3), np.diag([1.0, 1.0, -0.5]))
    with pytest.raises(UserError, match="no negative eigenvalue, but the smallest of this one is -0.5"):
        frechet_distance(wrong, GaussianFit(np.zeros(3), np.diag([1.0, 1.0, 0.0])))


# ---- at infinite N ---------------------------------------------------------------------------------------------------


def plain(x: np.ndarray, y: np.ndarray) -> float:
    return frechet_distance(GaussianFit.of(x), GaussianFit.of(y))


def test_it_is_the_line_through_means_over_disjoint_pieces() -> None:
    x, y = features(5, 103, 3), features(6, 95, 3, 1.4)
    found = frechet_limit(x, y, pieces=4, blocks=0, seed=3)
    assert found.sizes == (103, 51, 34, 25)
    assert found.distances[0] == pytest.approx(plain(x, y))
    assert found.standard_error is None
    design = np.stack([np.ones(4), 1 / np.array(found.sizes)], axis=1)
    solution, rest, *_ = np.linalg.lstsq(design, np.array(found.distances), rcond=None)
    covariance = rest[0] / 2 * np.linalg.inv(design.T @ design)
    assert (found.value, found.slope) == pytest.approx(tuple(solution))
    assert found.fit_error == pytest.approx(covariance[0, 0] ** 0.5)
    assert found == frechet_limit(x, y, pieces=4, blocks=0, seed=3)
    assert found.value != frechet_limit(x, y, pieces=4, blocks=0, seed=4).value


def test_it_takes_away_what_finite_numbers_add() -> None:
    """The distance of the distributions is known; at these N it is several times as large."""
    scales = 1 / np.sqrt(np.arange(1, 25))
    true = float((scales**2).sum() * (0.2**2 + 0.1**2))
    values, plains, inside = [], [], []
    for seed in range(30):
        draws = np.random.default_rng(seed)
        x = (1.1 * draws.standard_normal((300, 24)) + 0.2) * scales
        y = draws.standard_normal((300, 24)) * scales
        found = frechet_limit(x, y, blocks=6)
        assert found.standard_error is not None
        values.append(found.value)
        plains.append(plain(x, y))
        inside.append(abs(found.value - true) < 2 * found.standard_error)
    error = float(np.std(values)) / 30**0.5
    assert abs(np.mean(values) - true) < 3 * error
    assert np.mean(plains) - true > 10 * error
    assert np.mean(inside) > 0.85


def test_against_a_fit_only_the_generated_side_goes_to_infinity() -> None:
    exact = GaussianFit(np.zeros(4), np.eye(4))
    values = [frechet_limit(features(seed, 200, 4), exact, blocks=0).value for seed in range(60)]
    assert abs(np.mean(values)) < 3 * np.std(values) / 60**0.5
    few = GaussianFit.of(features(99, 30, 4))
    values = [frechet_limit(features(seed, 200, 4), few, blocks=0).value for seed in range(20)]
    assert np.mean(values) == pytest.approx(frechet_distance(exact, few), rel=0.2)


def test_effective_dimension() -> None:
    assert effective_dimension(features(7, 20000, 6)) == pytest.approx(6, rel=0.02)
    assert effective_dimension(features(8, 500, 6) * np.array([1, 0, 0, 0, 0, 0])) == pytest.approx(1)
    x = features(9, 12, 30)
    spectrum = np.linalg.eigvalsh(np.cov(x, rowvar=False))
    assert effective_dimension(x) == pytest.approx(spectrum.sum() ** 2 / (spectrum**2).sum())
    assert effective_dimension(np.ones((5, 3))) == 0


def test_too_few_images_for_a_line_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"leave 14 images in the smallest, but their features spread over \d\d dimensions"
    ):
        frechet_limit(features(10, 80, 64), features(11, 80, 64))
    with pytest.raises(UserError, match="leave 1 images"):
        frechet_limit(features(10, 8, 1), features(11, 80, 1))
    with pytest.raises(UserError, match="at least 3 pieces"):
        frechet_limit(features(10, 80, 2), features(11, 80, 2), pieces=2)
    with pytest.raises(UserError, match="different length: 2 and 3"):
        frechet_limit(features(10, 80, 2), features(11, 80, 3))
    with pytest.raises(UserError, match="different length: 2 and 3"):
        frechet_limit(features(10, 80, 2), GaussianFit.of(features(11, 80, 3)))
    with pytest.raises(UserError, match="NaN"):
        frechet_limit(np.full((80, 2), np.nan), features(11, 80, 2))
