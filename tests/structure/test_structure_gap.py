"""The structure gap against a double loop, and the choice of images that take part."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from structure_oracles import images, naive_gap, naive_noisiest

from sadm.structure import PENALTIES, StructureError, noisiest, structure_gap, uniform_weight, wiener_weight

PENALTY = pytest.mark.parametrize("penalty", ["squared", "huber"])
EVERY_PENALTY = pytest.mark.parametrize("penalty", list(PENALTIES))
WEIGHTS = st.floats(1e-6, 10) | st.just(0.0)


@PENALTY
@settings(max_examples=25, deadline=None)
@given(weight=st.lists(WEIGHTS, min_size=2, max_size=6), weighted=st.booleans(), seed=st.integers(0, 2**20))
def test_the_gap_equals_the_double_loop(penalty: str, weight: list[float], weighted: bool, seed: int) -> None:
    batch = len(weight)
    relation, relation_hat = 0.2 * images(seed, 2, batch, batch, dtype=torch.float64)
    given_weight = torch.tensor(weight, dtype=torch.float64) if weighted else None
    expected = naive_gap(relation, relation_hat, weight if weighted else None, penalty)
    assert float(structure_gap(relation, relation_hat, given_weight, penalty)) == pytest.approx(
        float(expected), rel=1e-12, abs=1e-300
    )


@PENALTY
def test_the_gradient_is_that_of_the_formula(penalty: str) -> None:
    relation, relation_hat = 0.2 * images(1, 2, 5, 5, dtype=torch.float64)
    relation.requires_grad_()
    relation_hat.requires_grad_()
    weight = torch.tensor([1.0, 0.5, 0.0, 2.0, 0.1], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a, b: structure_gap(a, b, weight, penalty), (relation, relation_hat))


def test_huber_is_quadratic_up_to_a_tenth_and_linear_beyond() -> None:
    for difference, expected in [(0.0, 0.0), (0.05, 0.00125), (0.1, 0.005), (0.3, 0.025), (-2.0, 0.195)]:
        relation = torch.full((2, 2), difference, dtype=torch.float64)
        gap = structure_gap(relation, torch.zeros(2, 2, dtype=torch.float64), penalty="huber")
        assert float(gap) == pytest.approx(expected, rel=1e-12)


def test_the_diagonal_does_not_count() -> None:
    relation = torch.eye(3, dtype=torch.float64) * 9
    assert float(structure_gap(relation, torch.zeros_like(relation))) == 0


@EVERY_PENALTY
@pytest.mark.parametrize("weight", [[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
def test_without_a_weighted_pair_gap_and_gradient_are_zero(penalty: str, weight: list[float]) -> None:
    relation, relation_hat = images(2, 2, 3, 3)
    relation_hat.requires_grad_()
    gap = structure_gap(relation, relation_hat, torch.tensor(weight), penalty)
    (gradient,) = torch.autograd.grad(gap, relation_hat)
    assert float(gap.detach()) == 0
    assert torch.equal(gradient, torch.zeros(3, 3))


@EVERY_PENALTY
def test_the_scale_of_the_weights_does_not_matter_even_when_tiny(penalty: str) -> None:
    relation, relation_hat = images(3, 2, 4, 4)
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0])
    expected = float(structure_gap(relation, relation_hat, weight, penalty))
    assert expected > 0
    for scale in (1e-30, 1e-6, 1e6, 1e30):
        found = float(structure_gap(relation, relation_hat, weight * scale, penalty))
        assert found == pytest.approx(expected, rel=1e-5)


@EVERY_PENALTY
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_relations_are_compared_in_float32(penalty: str, dtype: torch.dtype) -> None:
    relation, relation_hat = images(4, 2, 5, 5, dtype=dtype)
    gap = structure_gap(relation, relation_hat, penalty=penalty)
    assert gap.dtype == torch.float32
    assert torch.equal(gap, structure_gap(relation.float(), relation_hat.float(), penalty=penalty))
    assert torch.equal(gap, structure_gap(relation, relation_hat.float(), penalty=penalty))


@EVERY_PENALTY
def test_equal_relations_have_no_gap(penalty: str) -> None:
    for batch in (3, 7):
        relation = images(5, 2, batch, batch)
        assert float(structure_gap(relation, relation.clone(), penalty=penalty)) == 0


@EVERY_PENALTY
def test_the_two_sides_can_be_exchanged(penalty: str) -> None:
    relation, relation_hat = images(6, 2, 5, 5, dtype=torch.float64)
    weight = torch.tensor([1.0, 0.5, 0.0, 2.0, 0.1], dtype=torch.float64)
    forth = structure_gap(relation, relation_hat, weight, penalty)
    assert float(structure_gap(relation_hat, relation, weight, penalty)) == pytest.approx(float(forth), rel=1e-13)


@EVERY_PENALTY
def test_an_image_of_weight_zero_takes_no_part(penalty: str) -> None:
    relation, relation_hat = images(7, 2, 6, 6, dtype=torch.float64)
    weight = torch.tensor([1.0, 0.5, 0.0, 2.0, 0.0, 3.0], dtype=torch.float64)
    kept = weight.nonzero().squeeze(1)
    without = structure_gap(relation[kept][:, kept], relation_hat[kept][:, kept], weight[kept], penalty)
    for _ in range(2):
        assert float(structure_gap(relation, relation_hat, weight, penalty)) == pytest.approx(float(without), rel=1e-12)
        relation[2], relation_hat[:, 4] = 1e6, -1e6


@EVERY_PENALTY
def test_gaps_of_leading_dimensions_are_averaged(penalty: str) -> None:
    relation, relation_hat = images(8, 2, 2, 3, 5, 5, dtype=torch.float64)
    relation[1] *= 7
    weight = torch.tensor([1.0, 0.5, 0.0, 2.0, 0.1], dtype=torch.float64)
    single = [structure_gap(relation[i, j], relation_hat[i, j], weight, penalty) for i in range(2) for j in range(3)]
    found = structure_gap(relation, relation_hat, weight, penalty)
    assert float(found) == pytest.approx(float(sum(single)) / 6, rel=1e-13)


def test_a_penalty_of_ones_own_is_called_for_each_set() -> None:
    seen = []

    def largest(relation: torch.Tensor, relation_hat: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        seen.append((relation.shape, relation.dtype, weight.tolist()))
        return (relation - relation_hat).abs().max()

    relation, relation_hat = images(9, 2, 4, 3, 3, dtype=torch.float16)
    expected = (relation.float() - relation_hat.float()).abs().amax((1, 2)).mean()
    assert torch.equal(structure_gap(relation, relation_hat, penalty=largest), expected)
    assert seen == [((3, 3), torch.float32, [1.0, 1.0, 1.0])] * 4
    structure_gap(relation[0], relation_hat[0], torch.tensor([1.0, 0.0, 2.0]), largest)
    assert seen[4] == ((3, 3), torch.float32, [1.0, 0.0, 2.0])


def test_a_penalty_of_ones_own_must_return_a_scalar() -> None:
    relation, relation_hat = images(9, 2, 3, 3)
    with pytest.raises(StructureError, match=r"must return a scalar tensor, it gave shape \(3, 3\)"):
        structure_gap(relation, relation_hat, penalty=lambda a, b, weight: a - b)
    with pytest.raises(StructureError, match=r"must return a scalar tensor, it gave float"):
        structure_gap(relation, relation_hat, penalty=lambda a, b, weight: float((a - b).sum()))


def test_misfits_are_refused_with_what_was_given() -> None:
    with pytest.raises(
        StructureError, match=r"unknown penalty 'cubic'; expected one of squared, huber, rank, spectral, or"
    ):
        structure_gap(torch.zeros(3, 3), torch.zeros(3, 3), penalty="cubic")
    for shape, shape_hat in [((3, 2), (3, 2)), ((3, 3), (2, 2)), ((3,), (3,)), ((), ()), ((2, 2, 2), (2, 2))]:
        with pytest.raises(StructureError, match=r"two matrices \[B, B\]"):
            structure_gap(torch.zeros(shape), torch.zeros(shape_hat))


@pytest.mark.parametrize("shape", [(), (1,), (2,), (4,), (3, 1), (1, 3)])
def test_a_weight_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(StructureError, match=r"expected a weight \[3\]"):
        structure_gap(torch.ones(3, 3), torch.zeros(3, 3), torch.ones(shape))


@settings(max_examples=80, deadline=None)
@given(
    sigma=st.lists(st.integers(0, 10**6), min_size=1, max_size=24, unique=True),
    fraction=st.fractions(0, 1, max_denominator=12),
)
def test_the_noisiest_are_the_head_of_the_sorted_list(sigma: list[int], fraction: float) -> None:
    levels = [s / 1024 for s in sigma]
    assert noisiest(torch.tensor(levels), float(fraction)).tolist() == naive_noisiest(levels, float(fraction))


@pytest.mark.parametrize(
    ("batch", "fraction", "count"),
    [(12, 1 / 3, 4), (13, 1 / 3, 5), (30, 0.1, 3), (7, 1e-9, 2), (7, 1.0, 7), (2, 0.2, 2), (1, 1.0, 1), (21, 1 / 7, 3)],
)
def test_the_count_is_rounded_up_and_at_least_two(batch: int, fraction: float, count: int) -> None:
    assert len(noisiest(torch.arange(batch).float(), fraction)) == count


def test_equal_noise_levels_still_give_distinct_images() -> None:
    chosen = noisiest(torch.ones(9), 0.5).tolist()
    assert len(set(chosen)) == 5
    assert chosen == sorted(chosen)


def test_wiener_weights() -> None:
    sigma = torch.tensor([0.0, 0.25, 0.5, 2.0, 80.0], dtype=torch.float64)
    for scale in (0.5, 2.0):
        expected = [scale**2 / (scale**2 + s**2) for s in sigma.tolist()]
        torch.testing.assert_close(wiener_weight(sigma, scale).tolist(), expected, rtol=1e-14, atol=0)
    assert float(wiener_weight(torch.tensor([math.inf]))) == 0
    assert uniform_weight(sigma).tolist() == [1.0] * 5
