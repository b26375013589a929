"""Outlyingness and shares of real images, against loops."""

from __future__ import annotations

import numpy as np
import pytest

from sadm.core.errors import UserError
from sadm.evaluation.coverage import Manifold
from sadm.evaluation.outlyingness import Outlyingness
from sadm.evaluation.typicality import share_as_low

DRAWS = np.random.default_rng(0)
SPACES = [DRAWS.normal(size=(12, 3)), DRAWS.normal(size=(12, 5)) ** 3]
POINTS = [DRAWS.normal(size=(9, 3)), DRAWS.normal(size=(9, 5)) ** 3]


def naive(point: np.ndarray, real: np.ndarray, neighbours: int) -> float:
    """The least distance to a real feature, over the distance from that one to its k-th nearest other."""
    ratios = []
    for i, centre in enumerate(real):
        others = sorted(float(np.linalg.norm(centre - other)) for j, other in enumerate(real) if j != i)
        ratios.append(float(np.linalg.norm(point - centre)) / others[neighbours - 1])
    return min(ratios)


@pytest.mark.parametrize("neighbours", [1, 3])
def test_it_is_the_least_distance_in_balls_and_the_worst_space_counts(neighbours: int) -> None:
    found = Outlyingness(SPACES, neighbours).of(POINTS)
    expected = [max(naive(p[i], s, neighbours) for p, s in zip(POINTS, SPACES, strict=True)) for i in range(9)]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("neighbours", [1, 3])
def test_a_real_image_is_measured_as_if_it_were_not_there(neighbours: int) -> None:
    found = Outlyingness(SPACES, neighbours).real
    expected = [max(naive(space[i], np.delete(space, i, axis=0), neighbours) for space in SPACES) for i in range(12)]
    assert found == pytest.approx(expected)


def test_up_to_one_is_precisions_test() -> None:
    space, points = SPACES[0], DRAWS.normal(size=(200, 3))
    inside = Outlyingness([space]).of([points]) <= 1
    assert 0 < inside.mean() < 1
    assert inside.mean() == pytest.approx(Manifold(space).share_inside(points))


def test_a_real_image_itself_lies_at_0_also_among_copies() -> None:
    space = np.concatenate([np.zeros((6, 2)), DRAWS.normal(size=(6, 2))])
    assert Outlyingness([space]).of([space]) == pytest.approx(np.zeros(12))
    assert np.isfinite(Outlyingness([space]).real).all()


def test_what_can_not_be_measured_is_refused() -> None:
    with pytest.raises(UserError, match="outlyingness by 3 neighbours"):
        Outlyingness([SPACES[0][:4]])
    with pytest.raises(UserError, match="same images in each space"):
        Outlyingness([SPACES[0], SPACES[1][:-1]])
    with pytest.raises(UserError, match="same images in each space"):
        Outlyingness([])
    with pytest.raises(UserError):
        Outlyingness(SPACES).of([POINTS[0], POINTS[1][:, :3]])
    with pytest.raises(UserError):
        Outlyingness([np.full((9, 2), np.nan)])


def test_shares_count_what_is_as_low() -> None:
    real, scores = np.array([3.0, 1.0, 1.0, 2.0]), np.array([0.5, 1.0, 2.5, 9.0])
    expected = [sum(value <= score for value in real) / 4 for score in scores]
    assert share_as_low(scores, real).tolist() == expected


def test_fresh_real_scores_are_seldom_refused() -> None:
    rejected = []
    for seed in range(300):
        draws = np.random.default_rng(seed).normal(size=60)
        rejected.append(float(share_as_low(draws[:1], draws[1:])[0] < 0.05))
    assert np.mean(rejected) < np.ceil(0.05 * 59) / 60 + 3 * (0.05 * 0.95 / 300) ** 0.5
