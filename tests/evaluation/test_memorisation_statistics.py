from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from sadm.core.errors import UserError
from sadm.data import ImageSet
from sadm.evaluation.memorisation import AuditParts, CopyThreshold, closeness, share_interval
from sadm.evaluation.memorisation.spaces import ratio
from sadm.evaluation.units import unit_numbers


def image_set(count: int, groups: tuple[str, ...] | None = None) -> ImageSet:
    pixels = torch.randint(0, 256, (count, 1, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return ImageSet(pixels, None, (), tuple(map(str, range(count))), "made up", groups=groups)


def test_closeness_counts_pairs():
    draws = np.random.default_rng(0)
    generated, real = draws.integers(0, 9, 20).astype(float), draws.integers(0, 9, 15).astype(float)
    wins = [(g < r) + 0.5 * (g == r) for g, r in itertools.product(generated, real)]
    assert closeness(generated, real).probability == pytest.approx(np.mean(wins))


def test_closeness_is_the_test_of_mann_and_whitney():
    draws = np.random.default_rng(1)
    for shift in (0.0, 0.1, 0.3):
        generated, real = draws.normal(size=600), draws.normal(shift, size=400)
        expected = stats.mannwhitneyu(generated, real, alternative="less").pvalue
        assert closeness(generated, real).p_value == pytest.approx(expected, rel=0.25, abs=1e-4)


@pytest.mark.parametrize(("real", "group", "classes"), [(100, 1, 1), (40, 1, 4), (100, 5, 1), (100, 4, 3)])
def test_p_values_are_uniform_for_fresh_images(real, group, classes):
    draws = np.random.default_rng(2)
    units = np.repeat(np.arange(real // group), group)
    values = []
    for _ in range(1500):
        kinds = draws.integers(0, classes, 150), draws.integers(0, classes, real)
        generated = draws.normal(size=150) + 3 * kinds[0]
        of_group = draws.normal(size=real // group)[units] * 0.8 + draws.normal(size=real) * 0.6
        theirs = (of_group if group > 1 else draws.normal(size=real)) + 3 * kinds[1]
        values.append(closeness(generated, theirs, units, kinds).p_value)
    assert stats.kstest(values, "uniform").statistic < 0.045
    for level in (0.01, 0.05, 0.1):
        assert np.mean(np.array(values) < level) < level + 2.6 * np.sqrt(level / 1500)


def test_ignoring_groups_would_not_be_calibrated():
    draws, values = np.random.default_rng(3), []
    units = np.repeat(np.arange(10), 20)
    for _ in range(300):
        real = draws.normal(size=10)[units] + 0.1 * draws.normal(size=200)
        generated = draws.normal(size=300)
        values.append([closeness(generated, real, own).p_value < 0.05 for own in (units, None)])
    by_group, ignoring = np.mean(values, axis=0)
    assert by_group < 0.08
    assert ignoring > 0.15


def test_classes_that_differ_in_frequency_are_no_evidence():
    draws = np.random.default_rng(4)
    kinds = np.repeat([0, 1], [180, 20]), np.repeat([0, 1], [50, 150])
    generated, real = (draws.normal(size=200) + 4 * kind for kind in kinds)
    assert closeness(generated, real).p_value < 1e-6
    assert closeness(generated, real, classes=kinds).p_value > 0.01


def test_closeness_without_common_classes_or_variation_says_nothing():
    one, other = np.zeros(5, np.int64), np.ones(4, np.int64)
    nothing = closeness(np.arange(5.0), np.arange(4.0), classes=(one, other))
    assert (nothing.probability, nothing.p_value) == (0.5, 1.0)
    assert closeness(np.ones(5), np.ones(4)).p_value == 1.0
    alone = closeness(np.zeros(50), np.ones(10), units=np.zeros(10, np.int64))
    assert alone.p_value == 1.0  # one group, however many images, is one observation


def test_closeness_refuses_what_is_not_finite():
    with pytest.raises(UserError, match="finite scores"):
        closeness(np.array([np.nan]), np.array([1.0]))
    with pytest.raises(UserError, match="finite scores"):
        closeness(np.array([]), np.array([1.0]))


def test_threshold_keeps_its_promise_on_further_images():
    draws, alarms = np.random.default_rng(5), []
    for _ in range(3000):
        scores = draws.uniform(0, 0.4, 150)
        threshold = CopyThreshold.calibrate(scores, np.arange(150))
        alarms.append(threshold.flags(draws.uniform(0, 0.4, 20)).mean())
    assert threshold.false_alarms == pytest.approx(1 / 151)
    assert np.mean(alarms) == pytest.approx(1 / 151, rel=0.15)


def test_threshold_says_what_few_images_vouch_for():
    threshold = CopyThreshold.calibrate(np.linspace(0.1, 0.3, 19), np.arange(19))
    assert (threshold.score, threshold.rank, threshold.units) == (pytest.approx(0.1), 1, 19)
    assert threshold.false_alarms == pytest.approx(0.05)


def test_threshold_counts_a_group_once_and_is_never_generous():
    scores = np.array([0.2, 0.9, 0.4, 0.41, 0.42])
    threshold = CopyThreshold.calibrate(scores, np.array([0, 0, 1, 1, 1]))
    assert (threshold.units, threshold.score) == (2, 0.2)
    assert CopyThreshold.calibrate(np.full(50, 0.9), np.arange(50)).score < 0.5
    with pytest.raises(UserError, match="finite scores"):
        CopyThreshold.calibrate(np.array([np.inf]), np.array([0]))


def test_p_value_of_so_many_copies_counts_orders():
    # Of 3 calibration scores and 4 others, all orders are equally likely: are 2 or more of the 4 below the lowest of the 3?
    threshold = CopyThreshold(0.1, 1, 3)
    ways = list(itertools.combinations(range(7), 3))  # places of the calibration scores
    assert threshold.p_value(2, 4) == pytest.approx(sum(way[0] >= 2 for way in ways) / len(ways))
    assert threshold.p_value(0, 4) == 1.0


def test_share_interval_covers():
    low, high = share_interval(0, 100)
    assert (low, high) == (0.0, pytest.approx(1 - 0.025**0.01))
    low, high = share_interval(5, 200)
    assert stats.binom.sf(4, 200, low) == pytest.approx(0.025)
    assert stats.binom.cdf(5, 200, high) == pytest.approx(0.025)


def test_ratio_of_distances():
    found = ratio(np.array([0.0, 0.0, 2.0]), np.array([1.0, 0.0, 4.0]))
    assert found == pytest.approx([1e-3, 1.0, 0.5])


def test_parts_share_no_group_and_are_nearly_equal():
    groups = tuple(f"part {i // 4}" for i in range(120))
    parts = AuditParts.of(image_set(120, groups))
    owners = [set(part.groups) for part in (parts.fitting, parts.reference, parts.comparison)]
    assert len(set.union(*owners)) == sum(map(len, owners)) == 30
    assert [len(part) for part in (parts.fitting, parts.reference, parts.comparison)] == [40, 40, 40]
    again = AuditParts.of(image_set(120, groups))
    assert again.comparison.names == parts.comparison.names
    assert AuditParts.of(image_set(120, groups), seed=1).comparison.names != parts.comparison.names
    assert len(parts.measuring) == 80


def test_parts_of_single_images_are_disjoint_and_bounded():
    parts = AuditParts.of(image_set(100), most=20)
    names = [part.names for part in (parts.fitting, parts.reference, parts.comparison)]
    assert len({name for part in names for name in part}) == 60
    assert unit_numbers(parts.comparison).tolist() == list(range(20))


def test_too_few_held_out_images_or_groups_are_refused():
    with pytest.raises(UserError, match="at least 12"):
        AuditParts.of(image_set(11))
    with pytest.raises(UserError, match="at least 3 groups"):
        AuditParts.of(image_set(20, ("a",) * 10 + ("b",) * 10))
