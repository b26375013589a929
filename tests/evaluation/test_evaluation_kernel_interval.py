"""The kernel distance's interval and its form over blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sadm.core.errors import UserError
from sadm.evaluation import kernel_distance, kernel_distance_blocks, kernel_distance_interval


def features(seed: int, count: int, length: int = 3, shift: float = 0.0) -> np.ndarray:
    return shift + np.random.default_rng(seed).standard_normal((count, length))


@settings(max_examples=25, deadline=None)
@given(n=st.integers(3, 7), m=st.integers(3, 7), length=st.integers(1, 4), seed=st.integers(0, 10**6))
def test_the_standard_error_is_that_of_leaving_out_each_image(n: int, m: int, length: int, seed: int) -> None:
    x, y = features(seed, n, length), features(seed + 1, m, length, 0.5)
    found = kernel_distance_interval(x, y)
    variance = 0.0
    for values, left in (
        (x, [kernel_distance(np.delete(x, i, axis=0), y) for i in range(n)]),
        (y, [kernel_distance(x, np.delete(y, i, axis=0)) for i in range(m)]),
    ):
        mean = sum(left) / len(left)
        variance += (len(values) - 1) / len(values) * sum((value - mean) ** 2 for value in left)
    assert found.value == pytest.approx(kernel_distance(x, y), rel=1e-9, abs=1e-11)
    assert found.standard_error == pytest.approx(variance**0.5, rel=1e-6, abs=1e-9)
    assert found.high - found.value == pytest.approx(found.value - found.low)
    assert found.high - found.value == pytest.approx(1.959964 * found.standard_error, rel=1e-6)


def test_rows_are_summed_in_chunks_without_a_difference() -> None:
    x, y = features(1, 1500), features(2, 1030, shift=0.1)
    assert kernel_distance_interval(x, y).value == pytest.approx(kernel_distance(x, y), rel=1e-9)
    assert kernel_distance_interval(x, y, 0.5).high < kernel_distance_interval(x, y).high


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """For different distributions 95 %; for equal ones, where the statistic is degenerate, more."""
    # With 2-dimensional unit Gaussians, one shifted, the truth is the mean of many independent estimates.
    truth = float(
        np.mean([kernel_distance(features(3 * i, 400, 2, 0.7), features(3 * i + 1, 400, 2)) for i in range(300)])
    )
    inside = 0
    for i in range(300):
        found = kernel_distance_interval(features(5 * i + 10**6, 120, 2, 0.7), features(5 * i + 10**6 + 1, 120, 2))
        inside += found.low <= truth <= found.high
    assert 0.9 <= inside / 300 <= 0.99
    around_zero, spreads, errors = 0, [], []
    for i in range(300):
        found = kernel_distance_interval(features(7 * i + 10**7, 80, 2), features(7 * i + 10**7 + 1, 80, 2))
        around_zero += found.low <= 0 <= found.high
        spreads.append(found.value)
        errors.append(found.standard_error**2)
    assert around_zero / 300 >= 0.93
    assert 1 < np.mean(errors) / np.var(spreads) < 4


def test_blocks_are_means_over_subsets() -> None:
    x, y = features(3, 40), features(4, 50, shift=0.3)
    draws = np.random.RandomState(11)
    values = []
    for _ in range(6):
        first = draws.choice(40, 15, replace=False)
        second = draws.choice(50, 15, replace=False)
        values.append(kernel_distance(x[first], y[second]))
    found = kernel_distance_blocks(x, y, subsets=6, subset_size=15, seed=11)
    assert (found.mean, found.spread) == pytest.approx((np.mean(values), np.std(values)))
    whole = kernel_distance_blocks(x, y[:40], subsets=3, subset_size=40)
    assert whole.mean == pytest.approx(kernel_distance(x, y[:40]))
    assert whole.spread < 1e-12


def test_what_has_no_interval_is_refused() -> None:
    with pytest.raises(UserError, match="standard error needs features .* at least 3 images"):
        kernel_distance_interval(features(1, 2), features(2, 9))
    with pytest.raises(UserError, match=r"over subsets of 10 needs .* at least 10 images, got shape \(9, 3\)"):
        kernel_distance_blocks(features(1, 9), features(2, 20), subset_size=10)
    with pytest.raises(UserError, match="at least 1 subset of 2"):
        kernel_distance_blocks(features(1, 9), features(2, 20), subsets=0)


def test_constant_features_have_a_distance_without_error() -> None:
    found = kernel_distance_interval(np.full((5, 2), 1.0), np.full((6, 2), 0.0))
    assert found.value == pytest.approx((1 + 1) ** 3 + 1 - 2)
    assert found.standard_error == pytest.approx(0, abs=1e-12)
