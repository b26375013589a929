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
