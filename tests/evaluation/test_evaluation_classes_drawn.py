"""The Inception score, density and coverage, and features that keep their place."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sadm.core.errors import UserError
from sadm.evaluation import Manifold, inception_score, spatial_features


def points(seed: int, count: int, length: int, shift: float = 0.0) -> np.ndarray:
    return shift + np.random.default_rng(seed).standard_normal((count, length))


# ---- Inception score -------------------------------------------------------------------------------------------------


def naive_score(part: list[list[float]]) -> float:
    classes = range(len(part[0]))
    marginal = [sum(row[c] for row in part) / len(part) for c in classes]
    total = 0.0
    for row in part:
        total += sum(row[c] * math.log(row[c] / marginal[c]) for c in classes if row[c] > 0)
    return math.exp(total / len(part))


@settings(max_examples=30, deadline=None)
@given(n=st.integers(6, 25), c=st.integers(2, 5), splits=st.integers(1, 6), seed=st.integers(0, 10**6))
def test_it_equals_loops_over_splits(n: int, c: int, splits: int, seed: int) -> None:
    draws = np.random.default_rng(seed)
    probabilities = draws.dirichlet(np.full(c, 0.5), n)
    probabilities[0] = np.eye(c)[0]
    order = np.random.RandomState(7).permutation(n)
    shuffled = probabilities[order].tolist()
    scores = [naive_score(shuffled[i * n // splits : (i + 1) * n // splits]) for i in range(splits)]
    found = inception_score(probabilities, splits, seed=7)
    mean = sum(scores) / splits
    assert found.mean == pytest.approx(mean, rel=1e-9)
    assert found.spread == pytest.approx((sum((s - mean) ** 2 for s in scores) / splits) ** 0.5, abs=1e-7)


def test_its_ends() -> None:
    sure = np.eye(8)[np.arange(80) % 8]
    assert inception_score(sure, splits=1).mean == pytest.approx(8)
    assert inception_score(np.full((80, 8), 1 / 8)).mean == pytest.approx(1)
    assert inception_score(np.eye(8)[np.zeros(80, dtype=int)]).mean == pytest.approx(1)
    ordered = inception_score(np.repeat(np.eye(8), 10, axis=0), splits=8, seed=None)
    assert (ordered.mean, ordered.spread) == pytest.approx((1, 0))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((5, 1)), "at least 2 classes"),
        (np.zeros(5), "at least 2 classes"),
        (np.full((5, 2), 0.5), "5 images can't be split into 10 parts"),
        (np.full((50, 2), np.nan), "NaN or infinite"),
        (points(1, 50, 3), "look like logits"),
        (np.full((50, 2), 0.4), "add up to 1"),
    ],
)
def test_what_is_no_probability_is_refused(values: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        inception_score(values)


# ---- density and coverage --------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(5, 12),
    m=st.integers(1, 12),
    length=st.integers(1, 4),
    neighbours=st.integers(1, 4),
    shift=st.floats(0, 2),
    seed=st.integers(0, 10**6),
)
def test_density_and_coverage_equal_loops(
    n: int, m: int, length: int, neighbours: int, shift: float, seed: int
) -> None:
    real, generated = points(seed, n, length), points(seed + 1, m, length, shift)
    radii = [sorted(math.dist(a, b) for j, b in enumerate(real) if j != i)[neighbours - 1] for i, a in enumerate(real)]
    held = sum(math.dist(a, b) <= radius for b in generated for a, radius in zip(real, radii, strict=True))
    covered = sum(any(math.dist(a, b) <= radius for b in generated) for a, radius in zip(real, radii, strict=True))
    found = Manifold(real, neighbours).density_coverage(generated)
    assert found.density == pytest.approx(held / (neighbours * m))
    assert found.coverage == pytest.approx(covered / n)


def test_they_have_known_values_for_equal_distributions() -> None:
    """Density 1; an image is not covered where its k nearest among all others are real ones. Over 40 pairs of sets."""
    found = [Manifold(points(2 * i, 300, 4), 5).density_coverage(points(2 * i + 1, 300, 4)) for i in range(40)]
    expected = 1 - math.prod((299 - j) / (599 - j) for j in range(5))
    assert np.mean([part.density for part in found]) == pytest.approx(1, abs=0.03)
    assert np.mean([part.coverage for part in found]) == pytest.approx(expected, abs=0.005)


def test_one_outlier_widens_the_real_manifold_but_not_coverage() -> None:
    real = points(3, 100, 2)
    with_outlier = np.concatenate([real, [[60.0, 0.0]]])
    between = np.full((100, 2), [30.0, 0.0]) + 0.1 * points(4, 100, 2)
    manifold = Manifold(with_outlier)
    assert manifold.share_inside(between) == 1
    found = manifold.density_coverage(between)
    assert found.density < 0.5
    assert found.coverage < 0.02


def test_points_that_can_not_be_compared_are_refused() -> None:
    manifold = Manifold(points(5, 9, 3))
    for broken, message in (
        (np.full((2, 3), np.nan), "NaN"),
        (points(6, 4, 2), "2 and 3"),
        (points(6, 0, 3), "at least 1"),
    ):
        with pytest.raises(UserError, match=message):
            manifold.density_coverage(broken)
        with pytest.raises(UserError, match=message):
            manifold.share_inside(broken)
    with pytest.raises(UserError, match="at least 1 neighbour, got 0"):
        Manifold(points(5, 9, 3), 0)


# ---- by place --------------------------------------------------------------------------------------------------------


def test_maps_are_flattened_height_first_and_channel_last() -> None:
    maps = np.arange(2 * 9 * 3 * 2, dtype=np.float32).reshape(2, 9, 3, 2)
    found = spatial_features(maps)
    expected = [[maps[n, c, h, w] for h in range(3) for w in range(2) for c in range(7)] for n in range(2)]
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float64
    assert spatial_features(maps, None).shape == (2, 54)
    assert spatial_features(np.zeros((1, 768, 17, 17), dtype=np.float32)).shape == (1, 2023)


@pytest.mark.parametrize("shape", [(2, 6, 3, 3), (2, 9), (9, 3, 3)])
def test_other_maps_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"maps \[N, C, H, W\] with at least 7 channels"):
        spatial_features(np.zeros(shape))
