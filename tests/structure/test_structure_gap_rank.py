"""The rank gap against loops over triplets, and against Kendall's tau in its limit."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau
from structure_oracles import images, naive_rank_gap

from sadm.structure import RELATIONS, StructureError, gap, rank_gap, structure_gap

ONES = torch.ones(7, dtype=torch.float64)


@settings(max_examples=15, deadline=None)
@given(
    weight=st.lists(st.floats(1e-6, 10) | st.just(0.0), min_size=3, max_size=6),
    temperature=st.sampled_from([0.01, 0.5, 3.0]),
    seed=st.integers(0, 2**20),
)
def test_it_equals_the_loops_over_triplets(weight: list[float], temperature: float, seed: int) -> None:
    relation, relation_hat = images(seed, 2, len(weight), len(weight), dtype=torch.float64)
    found = rank_gap(relation, relation_hat, torch.tensor(weight, dtype=torch.float64), temperature)
    assert float(found) == pytest.approx(float(naive_rank_gap(relation, relation_hat, weight, temperature)), rel=1e-11)


def test_the_default_temperature_is_a_half() -> None:
    relation, relation_hat = images(1, 2, 5, 5, dtype=torch.float64)
    expected = float(naive_rank_gap(relation, relation_hat, [1.0] * 5, 0.5))
    assert float(structure_gap(relation, relation_hat, penalty="rank")) == pytest.approx(expected, rel=1e-12)


def test_the_gradient_is_that_of_the_formula() -> None:
    relation, relation_hat = images(2, 2, 5, 5, dtype=torch.float64)
    relation.requires_grad_()
    relation_hat.requires_grad_()
    weight = torch.tensor([1.0, 0.5, 0.0, 2.0, 0.1], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a, b: rank_gap(a, b, weight), (relation, relation_hat))
    assert torch.autograd.gradgradcheck(lambda a, b: rank_gap(a, b, weight), (relation, relation_hat))


def discordant_share(relation: torch.Tensor, relation_hat: torch.Tensor) -> float:
    """Mean over anchors of (1 - Kendall's tau) / 2."""
    taus = []
    for i in range(len(relation)):
        others = [j for j in range(len(relation)) if j != i]
        taus.append(kendalltau(relation[i, others].numpy(), relation_hat[i, others].numpy()).statistic)
    return (1 - sum(taus) / len(taus)) / 2


def test_in_the_limit_it_is_the_share_of_discordant_pairs() -> None:
    for seed in range(5):
        relation, relation_hat = images(seed, 2, 7, 7, dtype=torch.float64)
        found = float(rank_gap(relation, relation_hat, ONES, temperature=1e-7))
        assert found == pytest.approx(discordant_share(relation, relation_hat), abs=1e-12)


def test_in_the_limit_no_increasing_map_of_either_side_matters() -> None:
    relation, relation_hat = images(3, 2, 7, 7, dtype=torch.float64)
    expected = float(rank_gap(relation, relation_hat, ONES, temperature=1e-7))
    assert 0.2 < expected < 0.8
    for increasing in (torch.exp, torch.atan, lambda r: r**3, lambda r: r + 100 * r.floor()):
        for pair in ((increasing(relation), relation_hat), (relation, increasing(relation_hat))):
            assert float(rank_gap(*pair, ONES, temperature=1e-7)) == pytest.approx(expected, abs=1e-12)
    assert float(rank_gap(relation, relation.exp(), ONES, temperature=1e-7)) == 0


def test_at_any_temperature_no_increasing_affine_map_of_either_side_matters() -> None:
    relation, relation_hat = 1e4 * images(4, 2, 7, 7, dtype=torch.float64)  # beside which the least spread is nothing
    expected = float(rank_gap(relation, relation_hat, ONES))
    assert float(rank_gap(3 * relation + 7, relation_hat, ONES)) == pytest.approx(expected, rel=1e-12)
    assert float(rank_gap(relation, 0.5 * relation_hat - 70, ONES)) == pytest.approx(expected, rel=1e-12)


def test_a_reversed_order_is_the_largest_gap_and_ties_on_one_side_count_a_quarter() -> None:
    relation = images(5, 7, 7, dtype=torch.float64)
    assert float(rank_gap(relation, -relation, ONES, temperature=1e-7)) == pytest.approx(1, abs=1e-12)
    assert float(rank_gap(relation, torch.zeros_like(relation), ONES, temperature=1e-7)) == pytest.approx(
        0.25, abs=1e-12
    )


def test_the_diagonal_does_not_count() -> None:
    relation, relation_hat = images(6, 2, 7, 7, dtype=torch.float64)
    expected = rank_gap(relation, relation_hat, ONES)
    assert torch.equal(
        rank_gap(relation.clone().fill_diagonal_(1e3), relation_hat.fill_diagonal_(-5.0), ONES), expected
    )


@pytest.mark.parametrize("triples", [1, 200])
def test_blocks_of_anchors_change_neither_value_nor_gradient(monkeypatch: pytest.MonkeyPatch, triples: int) -> None:
    relation, relation_hat = images(7, 2, 3, 8, 8, dtype=torch.float64)  # 3 sets, 24 anchors
    weight = torch.linspace(0, 1, 8, dtype=torch.float64)
    relation_hat.requires_grad_()
    whole = rank_gap(relation, relation_hat, weight)
    monkeypatch.setattr(gap, "_TRIPLES_AT_ONCE", triples)
    blocks = rank_gap(relation, relation_hat, weight)
    assert float(blocks.detach()) == pytest.approx(float(whole.detach()), rel=1e-13)
    gradients = [torch.autograd.grad(value, relation_hat)[0] for value in (whole, blocks)]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-10, atol=1e-16)


def test_blocks_keep_no_triplet_for_the_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    relation, relation_hat = images(8, 2, 24, 24)
    relation_hat.requires_grad_()

    def kept_numbers() -> int:
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
            rank_gap(relation, relation_hat, torch.ones(24))
        return sum(kept)

    assert kept_numbers() > 24**3
    monkeypatch.setattr(gap, "_TRIPLES_AT_ONCE", 24**2)
    assert kept_numbers() < 20 * 24**2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_identical_images_have_a_finite_gradient(dtype: torch.dtype) -> None:
    relation = images(9, 6, 6, dtype=dtype)
    for constant in (0.0, 1.0):
        relation_hat = torch.full((6, 6), constant, dtype=dtype, requires_grad=True)
        value = structure_gap(relation, relation_hat, penalty="rank")
        (gradient,) = torch.autograd.grad(value, relation_hat)
        assert 0 < float(value.detach()) < 0.25  # all of one side tied
        assert gradient.isfinite().all()
        assert gradient.any()


@pytest.mark.parametrize("name", list(RELATIONS))
def test_descending_it_restores_the_order(name: str) -> None:
    e = images(10, 6, 3, dtype=torch.float64)
    e_hat = (e + 0.5 * images(11, 6, 3, dtype=torch.float64)).requires_grad_()
    optimiser = torch.optim.Adam([e_hat], lr=0.02)
    gaps = []
    for _ in range(80):
        value = structure_gap(*RELATIONS[name](e, e_hat), penalty="rank")
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        gaps.append(float(value.detach()))
    assert gaps[-1] < 0.1 * gaps[0]


def test_misfits_are_refused() -> None:
    with pytest.raises(StructureError, match=r"the rank gap needs triplets: at least 3 images, got 2"):
        structure_gap(torch.zeros(2, 2), torch.zeros(2, 2), penalty="rank")
    for temperature in (0.0, -1.0, math.nan):
        with pytest.raises(StructureError, match=r"temperature must be positive"):
            rank_gap(torch.zeros(3, 3), torch.zeros(3, 3), torch.ones(3), temperature)
