from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sadm.experiments.statistics import Interval, mean_interval, outcome, paired_ratio


def test_interval_against_scipy():
    values = [1.0, 2.5, 2.0, 4.0]
    found = mean_interval(values)
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert found.mean == pytest.approx(np.mean(values))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_the_ratio_interval_is_the_paired_t_test_on_logs():
    treatment, control = [1.0, 0.7, 0.9, 0.8], [1.2, 1.1, 1.0, 1.3]
    found = paired_ratio(treatment, control)
    assert found is not None
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
    assert ratio is not None
    assert (ratio.low, ratio.high) == (None, None)
    assert outcome([ratio, ratio]) == "undecided"


def test_at_the_floor_there_is_no_ratio():
    assert paired_ratio([0.0, 1.0], [1.0, 1.0]) is None
    assert paired_ratio([1.0, 1.0], [1.0, -0.1]) is None
    with pytest.raises(ValueError, match="2 values against 1"):
        paired_ratio([1.0, 2.0], [1.0])


BETTER, WORSE = Interval(0.5, 0.4, 0.6, ()), Interval(2.0, 1.5, 2.5, ())
OPEN = Interval(0.9, 0.7, 1.2, ())


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ([BETTER, BETTER], "sadm"),
        ([WORSE, WORSE], "plain"),
        ([BETTER, WORSE], "mixed"),
        ([BETTER, OPEN], "undecided"),
        ([WORSE, OPEN], "undecided"),
        ([BETTER, None], "undecided"),
        ([None, None], "undecided"),
        ([], "undecided"),
    ],
)
def test_the_rule(ratios, expected):
    assert outcome(ratios) == expected
