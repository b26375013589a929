"""Relations against double loops, and what each is blind to."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from structure_oracles import angle_partners, images, naive_gap, naive_relations

from sadm.structure import (
    RELATIONS,
    StructureError,
    angle_relations,
    cosine_relations,
    euclidean_relations,
    rbf_relations,
    structure_gap,
)

SHAPES = {"batch": st.integers(2, 6), "length": st.integers(1, 7), "seed": st.integers(0, 2**20)}
ALL = pytest.mark.parametrize("name", list(RELATIONS))


def stacked(rows: list[list[torch.Tensor]]) -> torch.Tensor:
    return torch.stack([torch.stack(row) for row in rows])


def close(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


@ALL
@settings(max_examples=12, deadline=None)
@given(**SHAPES)
def test_a_relation_equals_the_double_loop(name: str, batch: int, length: int, seed: int) -> None:
    batch = max(batch, 3) if name == "angles" else batch
    e, e_hat = images(seed, 2, batch, length, dtype=torch.float64)
    found, expected = RELATIONS[name](e, e_hat), naive_relations(name, e, e_hat)
    close(found[0], stacked(expected[0]))
    close(found[1], stacked(expected[1]))


@pytest.mark.parametrize("name", ["cosine", "euclidean", "angles"])
def test_the_gradient_is_that_of_the_formula(name: str) -> None:
    e, e_hat = images(3, 2, 5, 4, dtype=torch.float64)
    e.requires_grad_()
    e_hat.requires_grad_()
    assert torch.autograd.gradcheck(RELATIONS[name], (e, e_hat))


@ALL
@pytest.mark.parametrize("coinciding", [False, True])
def test_the_gradient_is_that_of_the_double_loop(name: str, coinciding: bool) -> None:
    """Whose bandwidth is a plain number, as the rbf relation's is to the gradient."""
    e, e_hat = images(14, 2, 5, 4, dtype=torch.float64)
    if coinciding and name != "euclidean":  # the loop's square root has no gradient at 0
        e_hat[3] = e_hat[1]
    e.requires_grad_()
    e_hat.requires_grad_()
    found = torch.autograd.grad(structure_gap(*RELATIONS[name](e, e_hat)), (e, e_hat))
    expected = torch.autograd.grad(naive_gap(*naive_relations(name, e, e_hat)), (e, e_hat))
    close(found[0], expected[0])
    close(found[1], expected[1])


@ALL
def test_leading_dimensions_are_sets_of_their_own(name: str) -> None:
    e, e_hat = images(15, 2, 2, 3, 5, 4, dtype=torch.float64)  # [2, 3, B, d] each
    e[1] *= 50  # each set has a scale of its own
    found = RELATIONS[name](e, e_hat)
    for first in range(2):
        for second in range(3):
            expected = RELATIONS[name](e[first, second], e_hat[first, second])
            close(found[0][first, second], expected[0], 1e-14)
            close(found[1][first, second], expected[1], 1e-14)


@pytest.mark.parametrize("name", ["cosine", "euclidean", "rbf"])
def test_images_are_not_told_apart_by_their_order(name: str) -> None:
    e, e_hat = images(4, 2, 6, 3, dtype=torch.float64)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    for before, after in zip(RELATIONS[name](e, e_hat), RELATIONS[name](e[order], e_hat[order]), strict=True):
        close(after, before[order][:, order])


@ALL
def test_a_rotation_of_one_set_changes_nothing(name: str) -> None:
    e, e_hat = images(5, 2, 6, 4, dtype=torch.float64)
    rotation = torch.linalg.qr(images(6, 4, 4, dtype=torch.float64))[0]
    close(RELATIONS[name](e, e_hat @ rotation)[1], RELATIONS[name](e, e_hat)[1])


def test_cosine_is_blind_to_the_length_of_each_embedding() -> None:
    e, e_hat = images(7, 2, 5, 4, dtype=torch.float64)
    lengths = torch.tensor([1e-3, 0.5, 1.0, 7.0, 1e6], dtype=torch.float64)[:, None]
    for before, after in zip(cosine_relations(e, e_hat), cosine_relations(e * lengths, e_hat * 3), strict=True):
        close(after, before)


def test_euclidean_is_blind_to_a_common_scale_and_to_a_shift_of_either_set() -> None:
    e, e_hat = images(8, 2, 5, 4, dtype=torch.float64)
    for before, after in zip(
        euclidean_relations(e, e_hat), euclidean_relations(e * 37.0 + 2.0, e_hat * 37.0 - 5.0), strict=True
    ):
        close(after, before)


def test_rbf_is_blind_to_a_common_scale_and_to_a_shift_of_either_set() -> None:
    e, e_hat = images(8, 2, 5, 4, dtype=torch.float64)
    for scale in (1e-9, 37.0, 1e9):
        for before, after in zip(
            rbf_relations(e, e_hat), rbf_relations(e * scale + 2.0 * scale, e_hat * scale - 5.0 * scale), strict=True
        ):
            close(after, before)


def test_angles_are_blind_to_the_scale_and_shift_of_either_set() -> None:
    e, e_hat = images(8, 2, 5, 4, dtype=torch.float64)
    for scale in (1e-9, 37.0, 1e9):
        for before, after in zip(
            angle_relations(e, e_hat), angle_relations(e * scale + scale, e_hat / scale - 5.0 / scale), strict=True
        ):
            close(after, before)


@pytest.mark.parametrize("batch", [3, 4, 9])
def test_partners_are_the_same_on_both_sides_and_depend_on_seed_and_batch_alone(batch: int) -> None:
    partners = angle_partners(batch)  # refuses a partner that is i or j, or one that fits no angle
    e, e_hat = images(16, 2, batch, 4, dtype=torch.float64)
    before = torch.get_rng_state()
    again = angle_relations(e_hat, e)
    assert torch.equal(torch.get_rng_state(), before)
    for found, expected in zip(again, angle_relations(e, e_hat)[::-1], strict=True):
        assert torch.equal(found, expected)
    assert (angle_partners(batch, seed=1) != partners) == (batch > 3)  # of 3 images there is one triplet for each pair


def test_every_image_is_a_partner_about_as_often() -> None:
    partners = angle_partners(16)
    counts = torch.zeros(16)
    for i, row in enumerate(partners):
        for j, k in enumerate(row):
            counts[k] += i != j
    assert counts.sum() == 16 * 15
    # Each of the 240 draws takes a given image with probability 1/14 unless it is i or j: mean 15, deviation 3.7.
    assert counts.min() >= 4
    assert counts.max() <= 26


@pytest.mark.parametrize("shrink", [0.5, 0.9, 1.1, 2.0])
def test_euclidean_shows_a_spread_that_shrinks_or_grows_on_one_side(shrink: float) -> None:
    e = images(9, 6, 4, dtype=torch.float64)
    real, denoised = euclidean_relations(e, e * shrink)
    close(denoised, shrink * real)  # both over the same pooled mean
    off = ~torch.eye(6, dtype=torch.bool)
    assert float((real[off].mean() + denoised[off].mean()) / 2) == pytest.approx(1, abs=1e-12)
    assert float(structure_gap(real, denoised)) > 1e-3 * (1 - shrink) ** 2
    assert float(structure_gap(*cosine_relations(e, e * shrink))) < 1e-24  # which cosine does not see


@ALL
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["identical sets", "two identical images", "all identical", "all zero"])
def test_coinciding_embeddings_give_finite_relations_and_gradients(name: str, dtype: torch.dtype, kind: str) -> None:
    e = images(10, 5, 4, dtype=dtype)
    if kind == "two identical images":
        e[1] = e[0]
    if kind == "all identical":
        e = e[:1].repeat(5, 1)
    if kind == "all zero":
        e = torch.zeros_like(e)
    e_hat = e.clone().requires_grad_()
    real, denoised = RELATIONS[name](e, e_hat)
    (gradient,) = torch.autograd.grad(structure_gap(real, denoised), e_hat)
    assert real.isfinite().all()
    assert torch.equal(real, denoised)
    assert torch.equal(gradient, torch.zeros_like(gradient))


@ALL
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, 1.0, 1e4])
def test_constant_embeddings_beside_varied_ones_have_finite_gradients(
    name: str, dtype: torch.dtype, value: float
) -> None:
    e = images(17, 5, 4, dtype=dtype).requires_grad_()
    e_hat = torch.full((5, 4), value, dtype=dtype, requires_grad=True)
    gap = structure_gap(*RELATIONS[name](e, e_hat))
    gradient, gradient_hat = torch.autograd.grad(gap, (e, e_hat))
    assert float(gap.detach()) > 0
    assert gradient.isfinite().all()
    assert gradient.any()
    assert gradient_hat.isfinite().all()
    if name != "cosine":  # distances of 0 have no direction to grow in
        assert torch.equal(gradient_hat, torch.zeros_like(gradient_hat))


@ALL
@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6])
def test_nearly_coinciding_images_have_finite_gradients(name: str, scale: float) -> None:
    e, e_hat = images(18, 2, 6, 4)
    e_hat[1:4] = e_hat[0] + 1e-7 * images(19, 3, 4)  # rounding errors apart
    e_hat = (e_hat * scale).requires_grad_()
    real, denoised = RELATIONS[name](e * scale, e_hat)
    (gradient,) = torch.autograd.grad(structure_gap(real, denoised), e_hat)
    assert denoised.isfinite().all()
    assert gradient.isfinite().all()


def test_two_identical_images_among_others_keep_the_right_gradient() -> None:
    e, e_hat = images(11, 2, 4, 3, dtype=torch.float64)
    e_hat[1] = e_hat[0]
    for name in ("cosine", "euclidean", "angles"):
        leaf = e_hat.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(structure_gap(*RELATIONS[name](e, leaf)), leaf)
        assert gradient.isfinite().all()
        step = e_hat.clone()
        step[2, 1] += 1e-6  # an image that coincides with none
        back = e_hat.clone()
        back[2, 1] -= 1e-6
        slope = (structure_gap(*RELATIONS[name](e, step)) - structure_gap(*RELATIONS[name](e, back))) / 2e-6
        assert float(gradient[2, 1]) == pytest.approx(float(slope), rel=1e-6)


def test_an_embedding_of_length_zero_is_similar_to_none() -> None:
    e = images(12, 3, 4)
    e[1] = 0
    real, _ = cosine_relations(e, e)
    assert torch.equal(real[1], torch.zeros(3))
    assert torch.equal(real[:, 1], torch.zeros(3))


@pytest.mark.parametrize(("name", "value"), [("euclidean", 0.0), ("rbf", 1.0), ("angles", 0.0)])
def test_all_embeddings_alike_have_neither_distances_nor_angles(name: str, value: float) -> None:
    real, denoised = RELATIONS[name](torch.ones(4, 3), torch.ones(4, 3))
    assert torch.equal(real, torch.full((4, 4), value))
    assert torch.equal(denoised, torch.full((4, 4), value))


@pytest.mark.parametrize("noise", [0.0, 1e-9])
def test_where_most_pairs_coincide_the_bandwidth_is_the_mean(noise: float) -> None:
    """Of 10 pairs on each side 6 are (nearly) 0 and 4 are 2 apart: mean squared distance 1.6."""
    e = torch.zeros(5, 2, dtype=torch.float64)
    e[4, 0] = 2
    e[1:4, 1] = noise * torch.arange(1, 4)
    real, _ = rbf_relations(e, e)
    close(real[4, :4], torch.full((4,), 0.2865047968601901, dtype=torch.float64))  # exp(-4 / 3.2)
    close(real[:4, :4], torch.ones(4, 4, dtype=torch.float64))


def test_half_of_the_pairs_have_an_affinity_above_that_of_the_bandwidth() -> None:
    e, e_hat = images(20, 2, 8, 3, dtype=torch.float64)
    pairs = torch.triu(torch.ones(8, 8, dtype=torch.bool), 1)
    affinities = torch.cat([matrix[pairs] for matrix in rbf_relations(e, e_hat)])
    assert int((affinities >= torch.tensor(-0.5, dtype=torch.float64).exp() - 1e-12).sum()) == 28


@ALL
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_embeddings_are_related_in_float32(name: str, dtype: torch.dtype) -> None:
    e, e_hat = images(13, 2, 6, 5, dtype=dtype)
    for found, expected in zip(RELATIONS[name](e, e_hat), RELATIONS[name](e.float(), e_hat.float()), strict=True):
        assert found.dtype == torch.float32
        assert torch.equal(found, expected)


def test_large_half_precision_embeddings_do_not_overflow() -> None:
    e = torch.full((3, 8), 60000.0, dtype=torch.float16)
    e[1] *= -1
    assert float(cosine_relations(e, e)[0][0, 1]) == pytest.approx(-1, abs=1e-6)
    for name in ("euclidean", "rbf", "angles"):
        assert RELATIONS[name](e, e)[0].isfinite().all()


@ALL
def test_close_pairs_far_from_the_origin_keep_their_digits(name: str) -> None:
    """The product form of distances would lose them: 1e4 squared leaves nothing of 0.01 in float32."""
    e = 1e4 + torch.tensor([[0.0, 0.0], [0.0, 0.03125], [0.0, 0.0625]])
    real, _ = RELATIONS[name](e, e)
    expected = {
        "cosine": torch.ones(3, 3),
        "euclidean": torch.tensor([[0.0, 0.75, 1.5], [0.75, 0.0, 0.75], [1.5, 0.75, 0.0]]),
        "rbf": (-torch.tensor([[0.0, 0.5, 2.0], [0.5, 0.0, 0.5], [2.0, 0.5, 0.0]])).exp(),
        "angles": torch.tensor([[0.0, 1.0, 1.0], [-1.0, 0.0, -1.0], [1.0, 1.0, 0.0]]),
    }
    close(real, expected[name], 1e-6)


@ALL
@pytest.mark.parametrize(
    ("shape", "shape_hat", "message"),
    [
        ((2, 4, 3), (4, 3), r"equal shape \[B, d\].*\(2, 4, 3\) for real and \(4, 3\) for denoised"),
        ((4,), (4,), r"equal shape \[B, d\]"),
        ((4, 3), (4, 2), r"\(4, 3\) for real and \(4, 2\) for denoised"),
        ((4, 3), (3, 3), r"\(4, 3\) for real and \(3, 3\) for denoised"),
        ((1, 3), (1, 3), r"at least 2 images, got 1\. Use a larger batch"),
        ((0, 3), (0, 3), r"at least 2 images, got 0"),
    ],
)
def test_sets_that_can_not_be_related_are_refused(
    name: str, shape: tuple[int, ...], shape_hat: tuple[int, ...], message: str
) -> None:
    with pytest.raises(StructureError, match=message):
        RELATIONS[name](torch.zeros(shape), torch.zeros(shape_hat))


def test_two_images_have_no_angles() -> None:
    with pytest.raises(StructureError, match=r"angles need triplets: at least 3 images, got 2\. Use a larger batch"):
        angle_relations(torch.zeros(2, 3), torch.zeros(2, 3))
