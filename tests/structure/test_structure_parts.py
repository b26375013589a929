"""The gap of local and global outputs against a loop over parts, targets, and what is refused."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
import torch
from structure_oracles import images, naive_gap, naive_relations

from sadm.structure import (
    PENALTIES,
    RELATIONS,
    Output,
    StructureError,
    attribute_affinity,
    cosine_relations,
    label_affinity,
    parts_gap,
    structure_gap,
)

WEIGHT = [1.0, 0.5, 0.0, 2.0, 0.1]
SHAPES = {
    "global": [(5, 4)],
    "places": [(5, 3, 4)],
    "one place": [(5, 1, 4)],
    "stages": [(5, 3, 4), (5, 2, 6), (5, 7)],
}


def outputs(shapes: list[tuple[int, ...]], seed: int) -> list[torch.Tensor]:
    return [images(seed + number, *shape, dtype=torch.float64) for number, shape in enumerate(shapes)]


def packed(stages: list[torch.Tensor]) -> Output:
    return stages[0] if len(stages) == 1 else tuple(stages)


def naive_parts_gap(
    name: str, stages: list[torch.Tensor], stages_hat: list[torch.Tensor], target: torch.Tensor | None = None
) -> torch.Tensor:
    """The mean over stages of the mean over places of the gap of two double loops."""
    total = torch.zeros((), dtype=torch.float64)
    for stage, stage_hat in zip(stages, stages_hat, strict=True):
        e, e_hat = (s if s.ndim == 3 else s[:, None] for s in (stage, stage_hat))  # [B, P, d]
        for place in range(e.shape[1]):
            real, denoised = naive_relations(name, e[:, place], e_hat[:, place])
            gap = naive_gap(real if target is None else target, denoised, WEIGHT)
            total = total + gap / (e.shape[1] * len(stages))
    return total


@pytest.mark.parametrize("name", list(RELATIONS))
@pytest.mark.parametrize("kind", list(SHAPES))
@pytest.mark.parametrize("targeted", [False, True])
def test_value_and_gradient_equal_the_loop_over_parts(name: str, kind: str, targeted: bool) -> None:
    stages, stages_hat = outputs(SHAPES[kind], 1), outputs(SHAPES[kind], 11)
    for stage_hat in stages_hat:
        stage_hat.requires_grad_()
    target = label_affinity(torch.tensor([0, 1, 0, 2, 1])) if targeted else None
    weight = torch.tensor(WEIGHT, dtype=torch.float64)
    found = parts_gap(packed(stages), packed(stages_hat), RELATIONS[name], weight, "squared", target)
    expected = naive_parts_gap(name, stages, stages_hat, target)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    for gradient, oracle in zip(
        torch.autograd.grad(found, stages_hat), torch.autograd.grad(expected, stages_hat), strict=True
    ):
        torch.testing.assert_close(gradient, oracle, rtol=0, atol=1e-13)


@pytest.mark.parametrize("penalty", list(PENALTIES))
def test_every_gap_is_averaged_over_places(penalty: str) -> None:
    e, e_hat = images(2, 2, 5, 3, 4)
    single = [parts_gap(e[:, p], e_hat[:, p], cosine_relations, penalty=penalty) for p in range(3)]
    found = parts_gap(e, e_hat, cosine_relations, penalty=penalty)
    torch.testing.assert_close(found, sum(single) / 3, rtol=1e-5, atol=0)


def test_one_embedding_is_the_plain_gap() -> None:
    e, e_hat = images(3, 2, 6, 4)
    weight = torch.rand(6, generator=torch.Generator().manual_seed(0))
    for penalty in PENALTIES:
        expected = structure_gap(*cosine_relations(e, e_hat), weight, penalty)
        assert torch.equal(parts_gap(e, e_hat, cosine_relations, weight, penalty), expected)
        assert torch.equal(parts_gap([e], (e_hat,), cosine_relations, weight, penalty), expected)


def test_a_named_tuple_is_a_tuple() -> None:
    class Both(NamedTuple):
        local: torch.Tensor
        whole: torch.Tensor

    stages, stages_hat = outputs(SHAPES["stages"][1:], 4), outputs(SHAPES["stages"][1:], 14)
    found = parts_gap(Both(*stages), Both(*stages_hat), cosine_relations)
    assert torch.equal(found, parts_gap(stages, stages_hat, cosine_relations))


def test_a_relation_of_ones_own_is_called_at_each_place() -> None:
    seen = []

    def linear_kernel(e: torch.Tensor, e_hat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(e.shape)
        return e @ e.T, e_hat @ e_hat.T

    local, local_hat = images(5, 2, 6, 3, 4)
    whole, whole_hat = images(6, 2, 6, 5)
    found = parts_gap((local, whole), (local_hat, whole_hat), linear_kernel)
    assert seen == [(6, 4)] * 3 + [(6, 5)]
    places = [structure_gap(*linear_kernel(local[:, p], local_hat[:, p])) for p in range(3)]
    expected = (sum(places) / 3 + structure_gap(*linear_kernel(whole, whole_hat))) / 2
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


def test_a_perfect_target_leaves_no_gap_whatever_the_real_images_are() -> None:
    labels = torch.tensor([0, 1, 2, 0, 1])
    e, e_hat = images(7, 5, 3), torch.eye(3)[labels]
    for target in (label_affinity(labels), label_affinity(labels).double()):
        assert float(parts_gap(e, e_hat, cosine_relations, target=target)) == 0
    assert float(parts_gap(e, e_hat, cosine_relations)) > 0.01


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_outputs_are_compared_in_float32(dtype: torch.dtype) -> None:
    e, e_hat = images(8, 2, 5, 3, 4, dtype=dtype)
    for name in RELATIONS:
        found = parts_gap(e, e_hat, RELATIONS[name])
        assert found.dtype == torch.float32
        assert torch.equal(found, parts_gap(e.float(), e_hat.float(), RELATIONS[name]))


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (torch.zeros(4), r"expected embeddings \[B, d\] or, at P places, \[B, P, d\]; the encoder gave \(4,\)$"),
        (
            torch.zeros(4, 3, 2, 2),
            r"gave \(4, 3, 2, 2\)\. For a feature map \[B, C, H, W\] return map\.flatten\(2\)\.mT",
        ),
        (torch.zeros(4, 0), r"gave \(4, 0\)$"),
        (torch.zeros(4, 0, 3), r"gave \(4, 0, 3\)$"),
        (torch.zeros(4, 3, dtype=torch.int64), r"must be a floating-point tensor; got torch\.int64"),
        ((torch.zeros(4, 3), None), r"must be a floating-point tensor; got NoneType"),
        ((torch.zeros(4, 3), (torch.zeros(4, 3),)), r"must be a floating-point tensor; got tuple"),
        ((), r"or a tuple of those; got nothing"),
        ({"a": torch.zeros(4, 3)}, r"or a tuple of those; got dict"),
        (None, r"or a tuple of those; got NoneType"),
        ((torch.zeros(4, 3), torch.zeros(3, 3)), r"must hold the same images; got shapes \(4, 3\), \(3, 3\)"),
        (torch.zeros(1, 3), r"at least 2 images, got 1"),
        (torch.zeros(1, 2, 3), r"at least 2 images, got 1"),
    ],
)
def test_outputs_of_another_kind_are_refused(output: Output, message: str) -> None:
    with pytest.raises(StructureError, match=message):
        parts_gap(output, output, cosine_relations)


@pytest.mark.parametrize(
    ("output", "output_hat"),
    [
        (torch.zeros(4, 3), torch.zeros(4, 2)),
        (torch.zeros(4, 3), torch.zeros(4, 1, 3)),
        ((torch.zeros(4, 3),), (torch.zeros(4, 3), torch.zeros(4, 3))),
    ],
)
def test_outputs_that_differ_in_shape_are_refused(output: Output, output_hat: Output) -> None:
    with pytest.raises(StructureError, match=r"other shapes for real than for denoised images: \(4, 3\) and \(4, "):
        parts_gap(output, output_hat, cosine_relations)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("side", ["real", "denoised"])
def test_outputs_with_nan_or_infinity_are_refused(value: float, side: str) -> None:
    e, e_hat = (torch.ones(4, 3), torch.ones(4, 2, 3)), (torch.ones(4, 3), torch.ones(4, 2, 3))
    (e if side == "real" else e_hat)[1][2, 1, 0] = value
    with pytest.raises(StructureError, match=rf"the encoder's output for {side} images holds NaN or infinite"):
        parts_gap(e, e_hat, cosine_relations)


def test_a_relation_of_ones_own_that_breaks_the_contract_is_refused() -> None:
    e = torch.ones(4, 2, 3)
    for relation, message in [
        (lambda a, b: a @ a.T, r"must return two matrices"),
        (lambda a, b: (a @ a.T, None), r"must return two matrices"),
        (lambda a, b: (a, b), r"a relation of 4 images must be \[4, 4\]; it gave \(4, 3\)"),
        (lambda a, b: (a @ a.T, (b - b) @ b.T / 0), r"the relation holds NaN"),
    ]:
        for output in (e, e[:, 0]):
            with pytest.raises(StructureError, match=message):
                parts_gap(output, output, relation)


def test_a_target_of_another_shape_or_with_nan_is_refused() -> None:
    e = torch.ones(4, 3)
    for shape in ((4,), (4, 3), (1, 4, 4), (3, 3)):
        with pytest.raises(StructureError, match=r"a target of affinities \[4, 4\]"):
            parts_gap(e, e, cosine_relations, target=torch.ones(shape))
    with pytest.raises(StructureError, match=r"the target holds NaN"):
        parts_gap(e, e, cosine_relations, target=torch.full((4, 4), math.nan))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool])
def test_label_affinity(dtype: torch.dtype) -> None:
    labels = torch.tensor([1, 0, 1, 0, 1]).to(dtype)
    expected = [[float(a == b) for b in labels.tolist()] for a in labels.tolist()]
    found = label_affinity(labels)
    assert found.dtype == torch.float32
    assert found.tolist() == expected


def test_attribute_affinity_equals_the_loop() -> None:
    values = images(9, 5, 3, dtype=torch.float64)
    found = attribute_affinity(values, bandwidth=0.7)
    for i in range(5):
        for j in range(5):
            squared = sum((a - b) ** 2 for a, b in zip(values[i].tolist(), values[j].tolist(), strict=True))
            assert float(found[i, j]) == pytest.approx(math.exp(-squared / (2 * 0.49)), rel=1e-12)
    single = attribute_affinity(values[:, 0], bandwidth=0.7)
    assert torch.equal(single, attribute_affinity(values[:, :1], bandwidth=0.7))


def test_attributes_of_any_type_keep_their_differences() -> None:
    expected = torch.tensor([[1.0, math.exp(-0.5)], [math.exp(-0.5), 1.0]])
    for values in (torch.tensor([2024, 2025]), torch.tensor([False, True]), torch.tensor([10000.0, 10001.0])):
        torch.testing.assert_close(attribute_affinity(values, 1.0), expected, rtol=1e-6, atol=0)


def test_labels_and_attributes_that_do_not_fit_are_refused() -> None:
    for labels in (torch.zeros(3), torch.zeros(3, 1, dtype=torch.int64), torch.tensor(1)):
        with pytest.raises(StructureError, match=r"expected integer labels \[B\].*attribute_affinity"):
            label_affinity(labels)
    for values in (torch.tensor(1.0), torch.zeros(3, 1, 1), torch.zeros(3, dtype=torch.complex64)):
        with pytest.raises(StructureError, match=r"expected attributes \[B\] or \[B, k\]"):
            attribute_affinity(values, 1.0)
    for bandwidth in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(StructureError, match=r"bandwidth must be positive and finite"):
            attribute_affinity(torch.zeros(3), bandwidth)
    with pytest.raises(StructureError, match=r"attributes hold NaN"):
        attribute_affinity(torch.tensor([0.0, math.nan]), 1.0)
