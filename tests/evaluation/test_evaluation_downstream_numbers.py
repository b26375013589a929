"""Scores, crossed intervals and worth against independent computations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics

from sadm.core.intervals import Interval, mean_interval
from sadm.evaluation.downstream.crossed import crossed_interval
from sadm.evaluation.downstream.report import class_gains, crossed_gain
from sadm.evaluation.downstream.scores import Answers
from sadm.evaluation.downstream.worth import NO_CURVE, ONE_SEED, laws, worth

# ---- scores ----------------------------------------------------------------------------------------------------------


def answers(count: int = 60, classes: int = 4) -> Answers:
    draws = torch.Generator().manual_seed(3)
    return Answers(
        torch.randn(count, classes, generator=draws), torch.randint(0, classes - 1, (count,), generator=draws)
    )


def test_scores_are_those_of_scikit_learn() -> None:
    draws = torch.Generator().manual_seed(3)
    logits, labels = torch.randn(60, 4, generator=draws), torch.randint(0, 4, (60,), generator=draws)
    found, predicted = Answers(logits, labels), logits.argmax(1).numpy()
    assert found.score("accuracy") == pytest.approx(metrics.accuracy_score(labels, predicted))
    assert found.score("balanced_accuracy") == pytest.approx(metrics.balanced_accuracy_score(labels, predicted))
    probabilities = logits.double().softmax(1).numpy()
    assert found.score("log_loss") == pytest.approx(metrics.log_loss(labels, probabilities, labels=range(4)))
    precision, recall, _, _ = metrics.precision_recall_fscore_support(labels, predicted, labels=range(4))
    assert found.precision == pytest.approx(precision)
    assert found.recall == pytest.approx(recall)


def test_a_class_without_held_out_images_has_no_recall_and_does_not_count() -> None:
    found = answers()  # the last of four classes has no image
    assert np.isnan(found.recall[3])
    assert found.recall[:3].mean() == found.score("balanced_accuracy")
    assert 0 < found.error("balanced_accuracy") < 1
    never = Answers(torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]), torch.tensor([0, 1]))
    assert never.precision[0] == 0.5
    assert np.isnan(never.precision[1:]).all()


def test_an_error_is_above_0_where_every_answer_is_right() -> None:
    found = Answers(50 * torch.eye(3)[torch.tensor([0, 1, 2])], torch.tensor([0, 1, 2]))
    assert found.score("accuracy") == 1
    assert found.error("accuracy") == 0.5 / 4
    assert found.error("balanced_accuracy") == pytest.approx(0.5 / 2)


# ---- intervals over seeds and images ---------------------------------------------------------------------------------


def test_a_crossed_interval_covers_what_varies_with_seeds_and_with_images() -> None:
    draws, hits, narrow = np.random.default_rng(0), [], []
    for _ in range(600):
        values = 0.1 + draws.normal(0, 0.2, (5, 1)) + draws.normal(0, 1.0, (1, 50)) + draws.normal(0, 1.0, (5, 50))
        found, over_seeds = crossed_interval(values), mean_interval(values.mean(1).tolist())
        assert found.mean == pytest.approx(values.mean())
        assert found.values == pytest.approx(values.mean(1))
        hits.append(found.low < 0.1 < found.high)
        narrow.append(over_seeds.low < 0.1 < over_seeds.high)
    assert 0.95 <= np.mean(hits) < 0.995  # rather too wide than too narrow
    assert np.mean(narrow) < 0.93  # seeds alone do not see that other images might have been held out


def test_without_differences_between_images_it_is_students_over_seeds() -> None:
    seeds = np.array([0.1, 0.3, 0.2, 0.5])
    found, expected = crossed_interval(np.repeat(seeds[:, None], 7, axis=1)), mean_interval(seeds.tolist())
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_without_differences_between_seeds_it_is_students_over_images() -> None:
    images = np.array([0.1, 0.3, 0.2, 0.5, 0.0])
    found = crossed_interval(np.repeat(images[None], 3, axis=0))
    low, high = stats.t.interval(0.95, 4, loc=images.mean(), scale=stats.sem(images))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_strata_weigh_classes_alike() -> None:
    values = np.array([[1.0, 0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 0.0, 1.0, 1.0]])
    found = crossed_interval(values, np.array([0, 0, 0, 1, 1]), binary=True)
    assert found.values == pytest.approx([(1 / 3 + 1) / 2, (2 / 3 + 1) / 2])
    assert found.mean == pytest.approx(np.mean(found.values))


def test_no_image_that_differs_does_not_mean_that_none_ever_does() -> None:
    same = crossed_interval(np.zeros((5, 100)), binary=True)
    assert same.mean == 0
    assert 0.005 < same.high < 0.06  # "none of 100" leaves up to 3 in 100 open (the rule of three)
    assert crossed_interval(np.zeros((5, 400)), binary=True).high < same.high
    assert crossed_interval(np.zeros((1, 100)), binary=True).low is None
    classes = crossed_interval(np.zeros((5, 100)), np.arange(100) % 10, binary=True)
    assert classes.high == pytest.approx(same.high, rel=0.2)


# ---- images in groups ------------------------------------------------------------------------------------------------


def no_effect(draws: np.random.Generator, binary: bool) -> np.ndarray:
    """Differences [3, 200] of classifiers, neither better, over 20 groups of 10 views that mostly share their group's fate."""
    fate = draws.choice([-1.0, 0.0, 1.0], 20, p=[0.25, 0.5, 0.25]) if binary else draws.normal(0, 1.0, 20)
    values = np.repeat(fate, 10)[None]
    if binary:
        return values * (draws.random((3, 200)) < 0.8)
    return values + draws.normal(0, 0.5, (1, 200)) + draws.normal(0, 0.5, (3, 200))


@pytest.mark.parametrize("binary", [False, True])
def test_intervals_over_groups_of_views_miss_as_seldom_as_they_say(binary: bool) -> None:
    draws, units = np.random.default_rng(0), np.repeat(np.arange(20), 10)
    missed: dict[bool, int] = {True: 0, False: 0}
    for _ in range(200):
        values = no_effect(draws, binary)
        for told in missed:
            found = crossed_interval(values, binary=binary, units=units if told else None)
            assert found.mean == pytest.approx(values.mean())
            missed[told] += not found.low <= 0 <= found.high
    assert missed[True] / 200 <= 0.1
    assert missed[False] / 200 > 0.3


def test_over_groups_of_equal_size_it_is_students_over_their_means() -> None:
    draws, groups = np.random.default_rng(1), np.repeat(np.arange(8), 5)
    values = draws.normal(0, 1, 40) + groups
    order = draws.permutation(40)
    found = crossed_interval(np.repeat(values[order][None], 3, axis=0), units=groups[order])
    means = values.reshape(8, 5).mean(1)
    low, high = stats.t.interval(0.95, 7, loc=means.mean(), scale=stats.sem(means))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


@pytest.mark.parametrize("binary", [False, True])
def test_variances_over_groups_are_those_of_a_loop_over_strata_and_groups(binary: bool) -> None:
    draws = np.random.default_rng(2)
    strata, units = draws.integers(0, 2, 50), draws.integers(0, 9, 50)  # groups of unequal size, across both classes
    values = draws.choice([-1.0, 0.0, 1.0], 50)
    terms = []
    for stratum in (0, 1):
        rows = [i for i in range(50) if strata[i] == stratum]
        # One image more for each of two strata, of which half is unchanged: a weight and a value each.
        more = [(0.25, 1.0), (0.25, -1.0), (0.5, 0.0)] if binary else []
        count = len(rows) + sum(weight for weight, _ in more)
        mean = (sum(values[i] for i in rows) + sum(weight * value for weight, value in more)) / count
        names = {int(units[i]) for i in rows}
        squares = sum(sum(values[i] - mean for i in rows if units[i] == name) ** 2 for name in names)
        squares += sum(weight * (value - mean) ** 2 for weight, value in more)
        terms.append((len(names) / (len(names) - 1) * squares / count**2 / 4, len(names) - 1))
    variance = sum(term for term, _ in terms)
    degrees = variance**2 / sum(term**2 / freedom for term, freedom in terms)
    found = crossed_interval(np.repeat(values[None], 3, axis=0), strata, binary=binary, units=units)
    assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, degrees) * variance**0.5)


@pytest.mark.parametrize("binary", [False, True])
def test_images_that_are_groups_of_their_own_have_the_interval_that_they_had(binary: bool) -> None:
    draws = np.random.default_rng(3)
    values, strata = draws.choice([-1.0, 0.0, 1.0], (4, 30)), draws.integers(0, 3, 30)
    for classes in (None, strata):
        assert crossed_interval(values, classes, binary, units=draws.permutation(30)) == crossed_interval(
            values, classes, binary
        )


@pytest.mark.parametrize("binary", [False, True])
def test_a_class_in_one_group_counts_as_one_image(binary: bool) -> None:
    draws = np.random.default_rng(4)
    values, strata = draws.choice([-1.0, 0.0, 1.0], (4, 30)), np.array([0] * 10 + [1] * 20)
    units = np.array([0] * 10 + list(range(1, 21)))
    found = crossed_interval(values, strata, binary, units=units)
    joined = np.concatenate([values[:, :10].mean(1, keepdims=True), values[:, 10:]], axis=1)
    expected = crossed_interval(joined, np.array([0] + [1] * 20), binary)
    assert (found.mean, found.low, found.high) == pytest.approx((expected.mean, expected.low, expected.high))


def test_gains_are_over_the_groups_of_the_test_images() -> None:
    draws = torch.Generator().manual_seed(6)
    labels, units = torch.randint(0, 3, (60,), generator=draws), np.random.default_rng(6).integers(0, 12, 60)
    logits = torch.randn(6, 60, 3, generator=draws)
    ours, real = ([Answers(row, labels, units) for row in part] for part in (logits[:3], logits[3:]))
    right = (logits.argmax(2) == labels).double().numpy()
    differences = right[:3] - right[3:]  # [S, N]
    assert crossed_gain(ours, real, "accuracy") == crossed_interval(differences, binary=True, units=units)
    assert crossed_gain(ours, real, "balanced_accuracy") == crossed_interval(
        differences, labels.numpy(), binary=True, units=units
    )
    losses = np.stack([b.losses - a.losses for a, b in zip(ours, real, strict=True)])
    assert crossed_gain(ours, real, "log_loss") == crossed_interval(losses, units=units)
    recall = class_gains(ours, real, "abc")["recall"]
    for label, name in enumerate("abc"):
        rows = (labels == label).numpy()
        expected = crossed_interval(differences[:, rows], binary=True, units=units[rows])
        assert recall[name] == expected.as_dict()
        assert recall[name] != crossed_interval(differences[:, rows], binary=True).as_dict()


# ---- worth -----------------------------------------------------------------------------------------------------------

SIZES = [25, 50, 75, 100]


def power_law(images: float) -> float:
    return 2 * images**-0.5


def flattening_law(images: float) -> float:
    return 0.05 + 10 / images


def errors_of(law: Callable[[float], float], scatter: float = 0.0, seeds: int = 4) -> np.ndarray:
    """Errors under a law [S, F], scattered by seed."""
    draws = np.random.default_rng(0)
    return np.array([law(size) for size in SIZES]) * np.exp(scatter * draws.standard_normal((seeds, len(SIZES))))


def gain_of(law: Callable[[float], float], more: int, width: float = 1e-9) -> Interval:
    """The gain that `more` real images bring, with an interval."""
    value = law(100) - law(100 + more)
    return Interval(value, value - width, value + width, ())


@pytest.mark.parametrize("more", [-60, -20, 0, 40, 100, 250])
def test_worth_is_the_number_of_images_that_brings_the_gain(more: int) -> None:
    """Under the law without a floor one of the bounds, under the one with a floor the other; the number lies between."""
    for number, law in enumerate((power_law, flattening_law)):
        found = worth(SIZES, errors_of(law), gain_of(law, more))
        bound = found.low if (number == 0) == (more > 0) else found.high
        assert bound == pytest.approx(more, abs=1e-3)
        assert found.low - 1e-3 <= found.images <= found.high + 1e-3
        assert np.sign(found.images) == np.sign(more) or abs(found.images) < 1e-3
        if more:
            assert found.outcome == ("gain" if more > 0 else "harm")
        else:
            assert found.outcome == "none"


def test_rates_are_those_of_fitted_lines() -> None:
    errors = errors_of(power_law, scatter=0.1)
    power, flattening = laws(SIZES, errors)
    assert power.rate.values == pytest.approx([-np.polyfit(np.log(SIZES), np.log(row), 1)[0] for row in errors])
    assert flattening.rate.values == pytest.approx([np.polyfit(100 / np.array(SIZES), row, 1)[0] for row in errors])
    assert (power.rate.low, power.rate.high) == pytest.approx(
        stats.t.interval(0.975, 3, loc=np.mean(power.rate.values), scale=stats.sem(power.rate.values))
    )


def test_nothing_is_extrapolated_beyond_what_was_measured() -> None:
    far = worth(SIZES, errors_of(power_law), gain_of(power_law, 5000))
    assert (far.images, far.low, far.farthest) == (300, 300, 300)
    perfect = worth(SIZES, errors_of(power_law), Interval(0.2, 0.19, 0.3, ()))
    assert perfect.images == perfect.farthest
    lost = worth(SIZES, errors_of(power_law), gain_of(power_law, -95))
    assert (lost.images, lost.fewest) == (-75, -75)


def test_uncertain_gains_and_curves_give_wide_intervals() -> None:
    sure, unsure = (worth(SIZES, errors_of(power_law, s), gain_of(power_law, 40, 0.003)) for s in (0.001, 0.02))
    assert unsure.low < sure.low < 40 < sure.high < unsure.high
    assert worth(SIZES, errors_of(power_law), gain_of(power_law, 0, 0.03)).outcome == "undecided"
    assert worth(SIZES, errors_of(power_law), gain_of(power_law, 0, 0.002)).outcome == "none"


def test_where_more_real_images_do_not_help_nothing_is_told_in_images() -> None:
    flat = worth(SIZES, errors_of(lambda images: 0.2, 0.1), gain_of(power_law, 40, 1e-3))
    assert (flat.images, flat.reason, flat.outcome) == (None, NO_CURVE, "gain")
    single = worth(SIZES, errors_of(power_law, seeds=1), Interval(0.1, None, None, ()))
    assert (single.images, single.reason, single.outcome) == (None, ONE_SEED, "undecided")
