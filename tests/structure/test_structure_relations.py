"""Relations against double loops, and what each is blind to."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from structure_oracles import images, naive_relations

from sadm.structure import RELATIONS, StructureError, cosine_relations, euclidean_relations, structure_gap

SHAPES = {"batch": st.integers(2, 6), "length": st.integers(1, 7), "seed": st.integers(0, 2**20)}
BOTH = pytest.mark.parametrize("name", ["cosine", "euclidean"])


def stacked(rows: list[list[torch.Tensor]]) -> torch.Tensor:
    return torch.stack([torch.stack(row) for row in rows])


def close(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


@BOTH
@settings(max_examples=25, deadline=None)
@given(**SHAPES)
def test_a_relation_equals_the_double_loop(name: str, batch: int, length: int, seed: int) -> None:
    e, e_hat = images(seed, 2, batch, length, dtype=torch.float64)
    found, expected = RELATIONS[name](e, e_hat), naive_relations(name, e, e_hat)
    close(found[0], stacked(expected[0]))
    close(found[1], stacked(expected[1]))


@BOTH
def test_the_gradient_is_that_of_the_formula(name: str) -> None:
    e, e_hat = images(3, 2, 5, 4, dtype=torch.float64)
    e.requires_grad_()
    e_hat.requires_grad_()
    assert torch.autograd.gradcheck(RELATIONS[name], (e, e_hat))


@BOTH
def test_images_are_not_told_apart_by_their_order(name: str) -> None:
    e, e_hat = images(4, 2, 6, 3, dtype=torch.float64)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    for before, after in zip(RELATIONS[name](e, e_hat), RELATIONS[name](e[order], e_hat[order]), strict=True):
        close(after, before[order][:, order])


@BOTH
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


@pytest.mark.parametrize("shrink", [0.5, 0.9, 1.1, 2.0])
def test_euclidean_shows_a_spread_that_shrinks_or_grows_on_one_side(shrink: float) -> None:
    e = images(9, 6, 4, dtype=torch.float64)
    real, denoised = euclidean_relations(e, e * shrink)
    close(denoised, shrink * real)  # both over the same pooled mean
    off = ~torch.eye(6, dtype=torch.bool)
    assert float((real[off].mean() + denoised[off].mean()) / 2) == pytest.approx(1, abs=1e-12)
    assert float(structure_gap(real, denoised)) > 1e-3 * (1 - shrink) ** 2
    assert float(structure_gap(*cosine_relations(e, e * shrink))) < 1e-24  # which cosine does not see


@BOTH
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


def test_two_identical_images_among_others_keep_the_right_gradient() -> None:
    e, e_hat = images(11, 2, 4, 3, dtype=torch.float64)
    e_hat[1] = e_hat[0]
    for name in RELATIONS:
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


def test_all_embeddings_alike_have_no_distances() -> None:
    real, denoised = euclidean_relations(torch.ones(4, 3), torch.ones(4, 3))
    assert torch.equal(real, torch.zeros(4, 4))
    assert torch.equal(denoised, torch.zeros(4, 4))


@BOTH
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
    assert euclidean_relations(e, e)[0].isfinite().all()


@BOTH
def test_close_pairs_far_from_the_origin_keep_their_digits(name: str) -> None:
    """The product form of distances would lose them: 1e4 squared leaves nothing of 0.01 in float32."""
    e = 1e4 + torch.tensor([[0.0, 0.0], [0.0, 0.03125], [0.0, 0.0625]])
    real, _ = RELATIONS[name](e, e)
    if name == "euclidean":
        close(real[0], torch.tensor([0.0, 0.75, 1.5]), 1e-6)
    else:
        close(real, torch.ones(3, 3), 1e-6)


@BOTH
@pytest.mark.parametrize(
    ("shape", "shape_hat", "message"),
    [
        ((4, 3, 2), (4, 3, 2), r"equal shape \[B, d\].*\(4, 3, 2\) for real"),
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
