"""The gap of cosine relations without relations, against the gap with them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sadm.structure import StructureError, cosine_relations, gram_gap, structure_gap


def sets(
    count: int, width: int, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[torch.Tensor, torch.Tensor]:
    """Two sets of embeddings, the first narrower than the second by one."""
    draws = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(count, w, generator=draws, dtype=torch.float64).to(dtype) for w in (width, width + 1))


def with_relations(e: torch.Tensor, e_hat: torch.Tensor) -> torch.Tensor:
    """The gap by its definition, each relation built by itself."""
    return structure_gap(cosine_relations(e, e)[0], cosine_relations(e_hat, e_hat)[0])


@given(count=st.integers(2, 12), width=st.integers(1, 20), seed=st.integers(0, 99))
def test_value_and_gradients_are_those_of_the_gap_with_relations(count: int, width: int, seed: int) -> None:
    e, e_hat = (part.requires_grad_() for part in sets(count, width, seed))
    expected, found = with_relations(e, e_hat), gram_gap(e, e_hat)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    for one, other in zip(
        torch.autograd.grad(found, (e, e_hat)), torch.autograd.grad(expected, (e, e_hat)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_float32_and_lower_precision() -> None:
    e, e_hat = sets(300, 16)
    for dtype, tolerance in [(torch.float32, 1e-6), (torch.float16, 1e-3)]:
        found = gram_gap(e.to(dtype), e_hat.to(dtype))
        assert found.dtype == torch.float32
        assert float(found) == pytest.approx(float(with_relations(e, e_hat)), abs=tolerance)


def test_equal_arrangements_have_no_gap() -> None:
    e, _ = sets(50, 8, dtype=torch.float32)
    assert abs(float(gram_gap(e, torch.nn.functional.pad(3 * e, (0, 5))))) < 1e-6


def test_embeddings_of_length_zero_are_orthogonal_to_all() -> None:
    e, e_hat = sets(5, 3)
    e[2] = 0
    torch.testing.assert_close(gram_gap(e, e_hat), with_relations(e, e_hat), rtol=1e-12, atol=0)
    leaf = torch.zeros(4, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(gram_gap(sets(4, 3, dtype=torch.float32)[0], leaf), leaf)
    assert torch.isfinite(gradient).all()


def test_what_can_not_be_related_is_refused() -> None:
    e, e_hat = sets(4, 3)
    with pytest.raises(StructureError, match=r"expected embeddings \[n, d\].*got \(4, 3\) and \(3, 4\)"):
        gram_gap(e, e_hat[:3])
    with pytest.raises(StructureError, match=r"got \(2, 2, 3\)"):
        gram_gap(e.reshape(2, 2, 3), e_hat[:2])
    with pytest.raises(StructureError, match="at least 2 embeddings, got 1"):
        gram_gap(e[:1], e_hat[:1])
    for value in (torch.nan, torch.inf):
        broken = e_hat.clone()
        broken[1, 1] = value
        with pytest.raises(StructureError, match="NaN or infinite"):
            gram_gap(e, broken)
