"""How sure it is, against definitions, simulation and numerical integration."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from sadm.experiments.poc.evidence import (
    POWER,
    SPREAD_BOUND,
    detectable,
    holm,
    p_value,
    pooled_spread,
    power,
    seeds_needed,
    shrunken,
)
from sadm.experiments.poc.ranking import MATTERS, MOST_TO_DECIDE, NOT, OPEN, PAYS, SEEN, Measured, decisive, rank
from sadm.experiments.statistics import Interval, outcome, paired_ratio

logs = st.lists(st.floats(-1, 1, allow_subnormal=False), min_size=2, max_size=6)


@given(
    st.integers(2, 6).flatmap(
        lambda n: st.lists(st.lists(st.floats(-1, 1), min_size=n, max_size=n), min_size=1, max_size=3)
    )
)
def test_p_is_below_5_per_cent_exactly_where_the_comparison_decides(judges: list[list[float]]) -> None:
    ratios = [paired_ratio([math.exp(v) for v in values], [1.0] * len(values)) for values in judges]
    p = p_value({str(i): values for i, values in enumerate(judges)})
    ends = [abs(math.log(end)) for r in ratios if isinstance(r, Interval) for end in (r.low, r.high) if end]
    if min(ends, default=1.0) < 1e-9 or any(np.std(values) < 1e-9 for values in judges):
        return  # on the edge, rounding decides
    assert (p < 0.05) == (outcome(ratios) in ("better", "worse"))


def test_p_of_one_judge_is_students() -> None:
    values = [-0.2, -0.1, -0.35, 0.05]
    assert p_value({"a": values}) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    other = [-0.1, -0.3, -0.2, -0.25]
    expected = max(stats.ttest_1samp(v, 0).pvalue for v in (values, other))
    assert p_value({"a": values, "b": other}) == pytest.approx(expected)
    opposite = p_value({"a": values, "b": [-v for v in other]})
    assert opposite > 0.9
    assert p_value({"a": [-0.5]}) == p_value({}) == 1.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closure_of_bonferroni(values: list[float]) -> None:
    """An hypothesis' adjusted p-value is the largest Bonferroni p-value of all sets of hypotheses that it belongs to."""
    everything = range(len(values))
    sets = [s for size in range(1, len(values) + 1) for s in itertools.combinations(everything, size)]
    expected = [max(min(1.0, len(s) * min(values[j] for j in s)) for s in sets if i in s) for i in everything]
    assert holm(values) == pytest.approx(expected)


def test_the_spread_is_pooled_and_bounded() -> None:
    found = pooled_spread([[1.0, 3.0], [5.0], [0.0, 0.0, 3.0]])
    assert found is not None
    assert (found.sd, found.freedom) == (pytest.approx(math.sqrt((2 + 6) / 3)), 3)
    assert pooled_spread([[1.0], []]) is None
    draws = np.random.default_rng(0).normal(0, 0.2, (4000, 3, 2))
    above = [pooled_spread([list(domain) for domain in draw]).bound >= 0.2 for draw in draws]  # type: ignore[union-attr]
    assert np.mean(above) == pytest.approx(SPREAD_BOUND, abs=0.02)


def test_power_is_that_of_simulated_experiments() -> None:
    random = np.random.default_rng(1)
    for effect, sd, seeds in ((-0.1, 0.1, 5), (0.3, 0.2, 3), (-0.05, 0.2, 20), (0.0, 0.1, 6)):
        draws = random.normal(effect, sd, (40_000, seeds))
        half = stats.t.ppf(0.975, seeds - 1) * draws.std(1, ddof=1) / math.sqrt(seeds)
        decided = draws.mean(1) - half > 0 if effect > 0 else draws.mean(1) + half < 0
        assert power(effect, sd, seeds) == pytest.approx(decided.mean(), abs=0.008)
    assert power(0.3, 0.1, 1) == 0.0


def test_so_many_seeds_decide_and_one_less_does_not() -> None:
    """For independent judges the bound is nearly what happens; for judges that agree, more is decided."""
    effects, spreads, random = [-0.12, -0.1], [0.1, 0.11], np.random.default_rng(2)
    seeds = seeds_needed(effects, spreads, 2, 100)
    assert seeds is not None

    def decided(count: int, shared: float) -> float:
        common = random.normal(size=(20_000, count, 1))
        noise = math.sqrt(shared) * common + math.sqrt(1 - shared) * random.normal(size=(20_000, count, 2))
        draws = noise * spreads + effects
        half = stats.t.ppf(0.975, count - 1) * draws.std(1, ddof=1) / math.sqrt(count)
        return float((draws.mean(1) + half < 0).all(1).mean())

    assert decided(seeds, 0.0) >= POWER - 0.01
    assert decided(seeds - 1, 0.0) < POWER + 0.03
    assert decided(seeds, 0.9) >= POWER
    assert seeds_needed(effects, spreads, seeds + 5, 100) == seeds + 5
    assert seeds_needed(effects, spreads, 2, seeds - 1) is None
    assert seeds_needed([-0.1, 0.1], spreads, 2, 100) is None
    assert seeds_needed([0.0, -0.1], spreads, 2, 100) is None


@given(st.floats(0.01, 1), st.integers(1, 3), st.integers(3, 60))
def test_what_can_be_detected_is_decided_with_the_stated_chance(spread: float, judges: int, seeds: int) -> None:
    effect = detectable(spread, judges, seeds)
    assert judges * (1 - power(effect, spread, seeds)) == pytest.approx(1 - POWER, abs=1e-6)


# ---- shrinkage -------------------------------------------------------------------------------------------------------


def test_shrinkage_is_the_posterior_mean_by_numerical_integration() -> None:
    y, se = np.array([-0.3, 0.05, -0.1, -0.02]), np.array([0.1, 0.08, 0.15, 0.1])
    grid, taus = np.linspace(-1.5, 1.5, 241), np.linspace(1e-6, 10 * max(y.std(ddof=1), se.max()), 1200)
    mu, tau = grid[None, :], taus[:, None]
    density = np.ones((1, 1))
    for seen, error in zip(y, se, strict=True):
        density = density * stats.norm.pdf(seen, mu, np.sqrt(error**2 + tau**2))  # [tau, mu]

    def integral(values: np.ndarray | float) -> float:
        return float(integrate.trapezoid(integrate.trapezoid(values * density, grid, axis=1), taus))

    mass = integral(1.0)
    found = shrunken(list(y), list(se))
    assert found is not None
    for j in (0, 2):
        weight = tau**2 / (tau**2 + se[j] ** 2)
        mean = integral(mu + weight * (y[j] - mu)) / mass
        second = integral(weight * se[j] ** 2 + (mu + weight * (y[j] - mu)) ** 2) / mass
        assert found[j].mean == pytest.approx(mean, abs=2e-3)
        assert found[j].sd == pytest.approx(math.sqrt(second - mean**2), abs=2e-3)


def test_the_best_of_several_is_too_good_and_shrinkage_mends_that() -> None:
    random = np.random.default_rng(3)
    raw, drawn, covered = [], [], []
    for _ in range(1500):
        truth = random.normal(-0.05, 0.05, 6)
        seen = random.normal(truth, 0.08)
        best = int(seen.argmin())
        likely = shrunken(list(seen), [0.08] * 6)
        assert likely is not None
        raw.append(seen[best] - truth[best])
        drawn.append(likely[best].mean - truth[best])
        low, high = likely[best].bounds
        covered.append(low <= truth[best] <= high)
    assert np.mean(raw) < -0.05  # far too good
    assert abs(np.mean(drawn)) < abs(np.mean(raw)) / 3
    assert np.mean(np.square(drawn)) < np.mean(np.square(raw)) / 2
    assert np.mean(covered) > 0.93


def test_two_domains_say_nothing_about_how_much_domains_differ() -> None:
    assert shrunken([0.1, 0.2], [0.1, 0.1]) is None


# ---- ranking ---------------------------------------------------------------------------------------------------------


def measured(name: str, centre: float, width: float = 0.02, seeds: int = 4) -> Measured:
    offsets = np.linspace(-width, width, seeds)
    values = {judge: list(centre + offsets + shift) for judge, shift in (("a", 0.0), ("b", 0.01))}
    ratios = [paired_ratio([math.exp(v) for v in by], [1.0] * seeds) for by in values.values()]
    return Measured(name, outcome(ratios), values, seeds)


def test_the_order_is_paying_then_open_then_not() -> None:
    domains = [
        measured("worse", 0.3),
        measured("open-worse", 0.01, 0.4),
        measured("good", -0.1),
        measured("open-good", -0.05, 0.4),
        Measured("diverged", "undecided", {}, 4),
        measured("best", -0.3),
    ]
    found = rank(domains, 0.05)
    assert [s.measured.name for s in found] == ["best", "good", "open-good", "open-worse", "diverged", "worse"]
    assert [s.place for s in found] == [PAYS, PAYS, OPEN, OPEN, OPEN, NOT]
    assert [s.step is not None for s in found] == [False, False, True, True, False, False]
    assert found[4].estimate is None
    assert all(s.holds for s in found if s.place != OPEN)
    by_p = {s.measured.name: s for s in found}
    assert by_p["best"].p == pytest.approx(p_value(domains[-1].logs))
    assert by_p["best"].p_all == pytest.approx(holm([p_value(d.logs) for d in domains])[-1])


def test_what_is_clear_alone_need_not_hold_among_many() -> None:
    barely = measured("barely", -0.15, 0.1)
    assert p_value(barely.logs) < 0.05
    (alone,) = rank([barely], 0.05)
    assert (alone.place, alone.holds) == (PAYS, True)
    among = rank([barely, *[measured(f"open{i}", 0.0, 0.4) for i in range(6)]], 0.05)
    assert (among[0].measured.name, among[0].place, among[0].holds) == ("barely", PAYS, False)


def test_the_step_plans_for_what_was_seen_or_for_what_matters() -> None:
    spreads = {"a": 0.1, "b": 0.12}
    seen = decisive({"a": -0.2, "b": -0.15}, spreads, 3, 0.05)
    assert (seen.basis, seen.seeds) == (SEEN, seeds_needed([-0.2, -0.15], [0.1, 0.12], 3, MOST_TO_DECIDE))
    worth = math.log(0.95)
    for effects in ({"a": -0.2, "b": -0.01}, {"a": -0.2, "b": 0.2}):
        step = decisive(effects, spreads, 3, 0.05)
        assert (step.basis, step.effects) == (MATTERS, pytest.approx({"a": worth, "b": worth}))
        assert step.seeds == seeds_needed([worth, worth], [0.1, 0.12], 3, MOST_TO_DECIDE)
    close = decisive({"a": -0.001, "b": 0.001}, {"a": 1.0, "b": 1.0}, 3, 0.05)
    assert close.seeds is None
    assert close.detectable == pytest.approx(detectable(1.0, 2, MOST_TO_DECIDE))
