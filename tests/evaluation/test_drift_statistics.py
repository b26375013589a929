"""The tests behind drift, against naive loops, scipy, and closed testing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from sadm.core.errors import UserError
from sadm.evaluation.drift import Gaussian, Outcome, Relabelling, Support, holm
from sadm.evaluation.drift.power import _distances
from sadm.evaluation.drift.relabelling import discrepancies

DRAWS = np.random.default_rng(7)


def naive_discrepancy(x: np.ndarray, y: np.ndarray, variance: float) -> float:
    """Equation 3 of Gretton et al., term by term."""

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        square = sum((p - q) ** 2 for p, q in zip(a, b, strict=True))
        return sum(np.exp(-square / (2 * variance * scale**2)) for scale in (0.5, 1, 2)) / 3

    n, m = len(x), len(y)
    same = sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    other = sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return same + other - 2 * sum(kernel(a, b) for a in x for b in y) / (n * m)


def test_the_discrepancy_is_that_of_a_naive_loop() -> None:
    points = DRAWS.normal(size=(17, 3)) + 100
    kernel = Gaussian.of(points)
    pairs = [((a - b) ** 2).sum() for a, b in itertools.combinations(points, 2)]
    assert kernel.variance == pytest.approx(np.sort(pairs)[(len(pairs) - 1) // 2])
    marks = torch.zeros(2, 17)
    marks[0, :6] = 1
    marks[1, [0, 3, 5, 9, 16]] = 1
    found = discrepancies(kernel(points, points), marks)
    for row, value in zip(marks.bool().numpy(), found.tolist(), strict=True):
        assert value == pytest.approx(naive_discrepancy(points[row], points[~row], kernel.variance), abs=1e-6)


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_distributions_are_compared_as_scipy_does(shift: float) -> None:
    new, reference = np.round(DRAWS.normal(shift, 1, 60), 1), np.round(DRAWS.normal(0, 1, 90), 1)  # with ties
    tested = Relabelling(np.arange(60), 60 + np.arange(90)).distribution(np.concatenate([new, reference]))
    scipys = stats.ks_2samp(new, reference)
    assert tested.value == pytest.approx(scipys.statistic, abs=1e-6)
    untied = np.concatenate([DRAWS.normal(shift, 1, 60), DRAWS.normal(0, 1, 90)])
    exact = stats.ks_2samp(untied[:60], untied[60:], method="exact").pvalue
    found = Relabelling(np.arange(60), 60 + np.arange(90)).distribution(untied).p_value
    assert found == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 4999) + 2e-4)
    marks = np.zeros((1, 60), np.float32)
    marks[0, :25] = 1
    assert _distances(new, marks, np.sort(reference), 25)[0] == pytest.approx(
        stats.ks_2samp(new[:25], reference).statistic, abs=1e-6
    )


def test_shares_are_pearsons() -> None:
    labels = np.array(list("aaabbbbccd") + list("aaaaaaaabbbccccccdd"))
    tested = Relabelling(np.arange(10), 10 + np.arange(19)).shares(labels)
    table = [[list(part).count(c) for c in "abcd"] for part in (labels[:10], labels[10:])]
    assert tested.value == pytest.approx(stats.chi2_contingency(table, correction=False).statistic, rel=1e-5)


def test_the_tail_is_hypergeometric() -> None:
    scores = DRAWS.permutation(200).astype(float)
    scores[:4] = 1000 + np.arange(4)
    tested = Relabelling(np.arange(50), 50 + np.arange(150)).tail(scores, 0.05)
    high = int((scores[:50] >= np.sort(scores)[-10]).sum())
    assert tested.value == pytest.approx(high / 50)
    exact = stats.hypergeom(200, 10, 50).sf(high - 1)
    assert tested.p_value == pytest.approx(exact, abs=4 * np.sqrt(exact / 4999) + 2e-4)


def test_farther_has_the_sign_of_the_side_that_is() -> None:
    generated, near, far = DRAWS.normal(0, 1, (80, 2)), DRAWS.normal(0, 1, (60, 2)), DRAWS.normal(2, 1, (60, 2))
    real = np.concatenate([far, near])
    kernel = Gaussian.of(np.concatenate([generated, real]))
    relabelled = Relabelling(np.arange(60), 60 + np.arange(60))
    tested = relabelled.farther(kernel(real, real), kernel(real, generated).mean(1))
    expected = [naive_discrepancy(part, generated, kernel.variance) for part in (far, near)]
    assert tested.value == pytest.approx(expected[0] - expected[1], abs=1e-5)
    assert tested.p_value == 1 / 5000
    real = np.concatenate([near, far])
    assert relabelled.farther(kernel(real, real), kernel(real, generated).mean(1)).p_value > 0.99


def test_images_of_a_group_stay_together() -> None:
    """Twelve groups of ten images that resemble each other: as single images they would nearly always seem to have drifted."""
    together, alone = [], []
    for seed in range(60):
        draws = np.random.default_rng(seed)
        values = (draws.normal(size=12)[:, None] + 0.3 * draws.normal(size=(12, 10))).ravel()
        groups = np.repeat(np.arange(12), 10)
        together.append(Relabelling(groups[:50], groups[50:], seed, 499).distribution(values).p_value)
        alone.append(Relabelling(np.arange(50), np.arange(50, 120), seed, 499).distribution(values).p_value)
    assert np.mean(np.array(alone) < 0.05) > 0.6
    assert np.mean(np.array(together) < 0.05) <= 0.15
    assert stats.kstest(together, "uniform").pvalue > 0.001


def test_within_classes_shares_do_not_count() -> None:
    labels = np.array([0] * 50 + [1] * 10 + [0] * 30 + [1] * 70)
    values = labels * 5 + DRAWS.normal(size=160)
    units = np.arange(160)
    assert Relabelling(units[:60], units[60:]).distribution(values).p_value < 0.001
    assert Relabelling(units[:60], units[60:], strata=labels).distribution(values).p_value > 0.05


def test_holms_values_are_those_of_closed_testing() -> None:
    values = dict(zip("abcde", (0.01, 0.04, 0.03, 0.005, 0.5), strict=True))
    adjusted = holm(values)
    for name in values:
        others = [key for key in values if key != name]
        subsets = [(name, *rest) for size in range(5) for rest in itertools.combinations(others, size)]
        closed = max(min(1.0, len(subset) * min(values[key] for key in subset)) for subset in subsets)
        assert adjusted[name] == pytest.approx(closed)


def test_a_critical_value_is_where_the_p_value_turns() -> None:
    null = DRAWS.normal(size=999)
    for level in (0.05, 0.01, 0.001):
        edge = Outcome(0.0, null).critical(level)
        assert Outcome(edge + 1e-3, null).p_value <= level
        assert Outcome(edge - 1e-3, null).p_value > level
    assert Outcome(0.0, null).critical(0.0001) == np.inf


def test_outside_is_as_rare_as_promised_and_finds_the_nearest() -> None:
    shares = []
    for seed in range(40):
        draws = np.random.default_rng(seed)
        training, fresh, new = ({"a": draws.normal(size=(count, 3))} for count in (150, 99, 60))
        found = Support.of(new, fresh, training, np.arange(99))
        assert found.expected == 0.05
        shares.append(found.outside.mean())
        naive = [np.argmin([np.linalg.norm(x - y) for y in training["a"]]) for x in new["a"]]
        assert found.nearest.tolist() == naive
        again = found.lies_outside(new, training)
        assert np.array_equal(again, found.outside)
        assert found.critical(60, 0.01) == next(k for k in range(61) if stats.betabinom(60, 5, 95).sf(k - 1) <= 0.01)
    error = np.std(shares) / np.sqrt(len(shares))
    assert np.mean(shares) <= 0.05 + 3 * error
    assert np.mean(shares) >= 0.02
    far = Support.of({"a": np.full((5, 3), 40.0)}, fresh, training, np.arange(99))
    assert far.outside.all()
    grouped = Support.of(new, fresh, training, np.arange(99) // 10)
    assert (grouped.units, grouped.expected) == (10, 1 / 11)


def test_sides_without_images_or_with_shared_units_are_refused() -> None:
    with pytest.raises(UserError, match="both sides, got 0 and 3"):
        Relabelling(np.arange(0), np.arange(3))
    with pytest.raises(UserError, match="share a group"):
        Relabelling(np.array([0, 1]), np.array([1, 2]))
