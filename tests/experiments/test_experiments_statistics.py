from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sadm.experiments.statistics import (
    AT_THE_FLOOR,
    DIVERGED,
    Interval,
    Missing,
    Reach,
    cost_to_reach,
    geometric_mean,
    mean_interval,
    outcome,
    paired_ratio,
)


def test_interval_against_scipy():
    values = [1.0, 2.5, 2.0, 4.0]
    found = mean_interval(values)
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert found.mean == pytest.approx(np.mean(values))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_the_ratio_interval_is_the_paired_t_test_on_logs():
    treatment, control = [1.0, 0.7, 0.9, 0.8], [1.2, 1.1, 1.0, 1.3]
    found = paired_ratio(treatment, control)
    assert isinstance(found, Interval)
    test = stats.ttest_rel(np.log(treatment), np.log(control))
    expected = test.confidence_interval(0.95)
    assert (found.low, found.high) == (pytest.approx(math.exp(expected.low)), pytest.approx(math.exp(expected.high)))
    assert found.mean == pytest.approx(stats.gmean(np.array(treatment) / np.array(control)))
    assert found.values == pytest.approx([a / b for a, b in zip(treatment, control, strict=True)])


def test_coverage_of_the_interval():
    draws = np.random.default_rng(0).normal(0.3, 1.0, (4000, 5))
    hits = [found.low < 0.3 < found.high for found in map(mean_interval, draws.tolist())]
    assert 0.94 < np.mean(hits) < 0.96


def test_one_seed_has_no_interval_and_decides_nothing():
    ratio = paired_ratio([0.1], [10.0])
    assert isinstance(ratio, Interval)
    assert (ratio.low, ratio.high) == (None, None)
    assert outcome([ratio, ratio]) == "undecided"


def test_at_the_floor_there_is_no_ratio():
    assert paired_ratio([0.0, 1.0], [1.0, 1.0]) == Missing(AT_THE_FLOOR)
    assert paired_ratio([1.0, 1.0], [1.0, -0.1]) == Missing(AT_THE_FLOOR)
    assert Missing(AT_THE_FLOOR).as_dict() == {"mean": None, "reason": "at the floor"}
    with pytest.raises(ValueError, match="2 values against 1"):
        paired_ratio([1.0, 2.0], [1.0])


BETTER, WORSE = Interval(0.5, 0.4, 0.6, ()), Interval(2.0, 1.5, 2.5, ())
OPEN = Interval(0.9, 0.7, 1.2, ())


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ([BETTER, BETTER], "better"),
        ([WORSE, WORSE], "worse"),
        ([BETTER, WORSE], "mixed"),
        ([BETTER, OPEN], "undecided"),
        ([WORSE, OPEN], "undecided"),
        ([BETTER, Missing(DIVERGED)], "undecided"),
        ([Missing(AT_THE_FLOOR), Missing(DIVERGED)], "undecided"),
        ([], "undecided"),
    ],
)
def test_the_rule(ratios, expected):
    assert outcome(ratios) == expected


# ---- several regimes -------------------------------------------------------------------------------------------------


def test_the_mean_over_regimes_is_a_t_interval_over_seeds_of_averaged_logs():
    draws = np.random.default_rng(3)
    regimes = {
        "scratch": {"mlp": draws.uniform(0.6, 1.1, 6), "pixels": draws.uniform(0.6, 1.1, 6)},
        "few": {
            "mlp": draws.uniform(0.3, 0.9, 6),
            "pixels": draws.uniform(0.5, 1.2, 6),
            "random": draws.uniform(0.9, 2, 6),
        },
        "unlabelled": {"pixels": draws.uniform(0.7, 1.0, 6)},
    }
    by_regime = [np.log(np.stack(list(judges.values()))).mean(axis=0) for judges in regimes.values()]  # each [6]
    seeds = np.mean(by_regime, axis=0)
    test = stats.ttest_1samp(seeds, 0.0).confidence_interval(0.95)
    found = geometric_mean({name: {j: v.tolist() for j, v in by.items()} for name, by in regimes.items()})
    assert found.mean == pytest.approx(math.exp(seeds.mean()))
    assert (found.low, found.high) == (pytest.approx(math.exp(test.low)), pytest.approx(math.exp(test.high)))
    assert found.values == pytest.approx(np.exp(seeds))


def test_pairing_makes_the_interval_over_regimes_narrower_than_its_parts():
    """What one regime loses with a seed, the other gains: no uncertainty is left."""
    found = geometric_mean({"a": {"mlp": [0.5, 0.8, 0.4]}, "b": {"mlp": [0.8, 0.5, 1.0]}})
    assert found.values == pytest.approx([math.sqrt(0.4)] * 3)
    assert found.low == pytest.approx(found.high)


def test_one_regime_and_judge_is_the_paired_ratio():
    ratio = paired_ratio([1.0, 0.7, 0.9], [1.2, 1.1, 1.0])
    assert isinstance(ratio, Interval)
    found = geometric_mean({"only": {"mlp": ratio.values}})
    assert (found.mean, found.low, found.high) == pytest.approx((ratio.mean, ratio.low, ratio.high))


@pytest.mark.parametrize(
    ("regimes", "message"),
    [
        ({}, "needs a ratio for the same seeds"),
        ({"a": {}}, "needs a ratio for the same seeds"),
        ({"a": {"mlp": []}}, "an interval needs at least one value"),
        ({"a": {"mlp": [0.5, 0.6]}, "b": {"mlp": [0.5]}}, r"{'a/mlp': 2, 'b/mlp': 1}"),
        ({"a": {"mlp": [0.5, 0.0]}}, r"positive and finite, got \[0.5, 0.0\] in a/mlp"),
        ({"a": {"mlp": [0.5, math.nan]}}, "positive and finite"),
    ],
)
def test_regimes_that_do_not_fit_are_refused(regimes, message):
    with pytest.raises(ValueError, match=message):
        geometric_mean(regimes)


# ---- cost to reach the control's quality -----------------------------------------------------------------------------


def flat(ratio: float) -> Interval:
    return Interval(ratio, ratio, ratio, (ratio,))


@pytest.mark.parametrize("power", [-0.5, -1.0, -3.0])
@pytest.mark.parametrize("share", [0.42, 0.6, 0.9])
def test_a_power_law_is_interpolated_exactly(power, share):
    """FD - floor falling as a power of cost is a straight line in logarithms: the crossing is where it was put."""
    points = {s: flat((s / share) ** power) for s in (0.4, 0.5, 0.7, 1.0)}
    found = cost_to_reach(points)
    assert found.mean == pytest.approx(share)
    assert (found.low, found.high) == (pytest.approx(share), pytest.approx(share))
    assert (found.outside, found.limit) == (None, None)


def test_the_crossing_against_numpy_interpolation():
    points = {1.0: flat(0.8), 0.5: flat(1.7), 0.7: flat(1.1), 1.2: flat(0.9)}
    expected = math.exp(np.interp(0.0, [math.log(0.8), math.log(1.1)], [math.log(1.0), math.log(0.7)]))
    assert cost_to_reach(points).mean == pytest.approx(expected)


def test_what_lies_outside_of_the_measured_is_said():
    assert cost_to_reach({0.5: flat(0.9), 1.0: flat(0.7)}) == Reach(None, "<", 0.5, None, None)
    assert cost_to_reach({0.5: flat(1.9), 1.0: flat(1.01)}) == Reach(None, ">", 1.0, None, None)
    assert cost_to_reach({0.5: flat(1.0), 1.0: flat(0.7)}).mean == 0.5
    with pytest.raises(ValueError, match="no cost was measured"):
        cost_to_reach({})


def test_the_control_reaches_its_own_quality_at_its_own_cost():
    found = cost_to_reach({0.5: Interval(1.6, 1.2, 2.1, ()), 1.0: flat(1.0)})
    assert (found.mean, found.low, found.high) == pytest.approx((1.0, 1.0, 1.0), rel=1e-12)
    assert found.outside is None


def test_the_first_of_several_crossings_counts():
    found = cost_to_reach({0.2: flat(2.0), 0.4: flat(0.5), 0.6: flat(1.5), 1.0: flat(0.6)})
    assert found.mean == pytest.approx(math.sqrt(0.2 * 0.4))


def test_bounds_are_the_crossings_of_the_bounds():
    points = {0.5: Interval(1.5, 1.2, 1.9, ()), 1.0: Interval(0.8, 0.6, 1.1, ())}
    found = cost_to_reach(points)
    low = cost_to_reach({share: flat(ratio.low) for share, ratio in points.items()}).mean
    assert found.low == pytest.approx(low)
    assert found.high is None  # the upper bound never comes down to 1
    assert low < found.mean
    one_seed = {0.5: Interval(1.5, None, None, ()), 1.0: Interval(0.8, None, None, ())}
    assert cost_to_reach(one_seed) == Reach(found.mean, None, None, None, None)
