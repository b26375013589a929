"""The balance against plain arithmetic: the ratio is what was asked for, image by image."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from structure_oracles import images, naive_balance

from sadm.structure import StructureError, balance_coefficients
from sadm.structure.balance import ratios_at


@settings(max_examples=50, deadline=None)
@given(
    batch=st.integers(1, 7),
    seed=st.integers(0, 2**20),
    ratio=st.floats(0, 0.99),
    k_max=st.sampled_from([0.25, 1.0, 30.0, math.inf]),
    silent=st.booleans(),
)
def test_it_equals_the_formula(batch: int, seed: int, ratio: float, k_max: float, silent: bool) -> None:
    g_dsm, g_gap = images(seed, 2, batch, 2, 3, 3, dtype=torch.float64)
    g_gap *= torch.logspace(-4, 2, batch, dtype=torch.float64).reshape(-1, 1, 1, 1)
    if silent:
        g_gap[0] = 0
    found = balance_coefficients(g_dsm, g_gap, ratio, k_max).tolist()
    assert found == pytest.approx(naive_balance(g_dsm, g_gap, ratio, k_max), rel=1e-12)


def test_every_image_reaches_its_ratio() -> None:
    g_dsm, g_gap = images(1, 2, 8, 3, 4, 4)
    ratio = torch.linspace(0.05, 0.95, 8)
    k = balance_coefficients(g_dsm, g_gap, ratio)
    reached = (k.reshape(-1, 1, 1, 1) * g_gap).flatten(1).norm(dim=1) / g_dsm.flatten(1).norm(dim=1)
    # eps is a thousandth of the median norm, so what is reached falls short by about a thousandth, never beyond.
    assert (reached < ratio).all()
    torch.testing.assert_close(reached, ratio, rtol=2e-3, atol=0)
    assert k.tolist() == pytest.approx(naive_balance(g_dsm, g_gap, ratio.tolist()), rel=1e-5)


def test_a_bound_of_one_only_clips() -> None:
    g_dsm = torch.ones(3, 1, 2, 2)
    g_gap = torch.stack([torch.full((1, 2, 2), size) for size in (0.01, 0.5, 50.0)])
    k = balance_coefficients(g_dsm, g_gap, 0.5, k_max=1.0)
    assert k[0] == 1.0
    assert k.tolist() == pytest.approx([1.0, 0.5 / (0.5 + 5e-4), 0.5 / (50 + 5e-4)], rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dsm", [0.0, 1.0, 1e30])
@pytest.mark.parametrize("gap", [0.0, 1e-30, 1.0])
def test_no_pair_of_sizes_gives_anything_infinite(dtype: torch.dtype, dsm: float, gap: float) -> None:
    g_dsm, g_gap = torch.full((3, 1, 2, 2), dsm, dtype=dtype), torch.full((3, 1, 2, 2), gap, dtype=dtype)
    k = balance_coefficients(g_dsm, g_gap, 0.5)
    assert k.isfinite().all()
    assert (k >= 0).all()
    assert (k.reshape(-1, 1, 1, 1) * g_gap).isfinite().all()
    if dsm == 0 or gap == 0:
        assert torch.equal(k, torch.zeros(3, dtype=dtype))


def test_an_image_without_a_structure_gradient_gets_zero_and_leaves_the_others_alone() -> None:
    g_dsm, g_gap = images(2, 2, 5, 1, 3, 3)
    g_gap[2] = 0
    k = balance_coefficients(g_dsm, g_gap, 0.5)
    assert k[2] == 0
    assert k.tolist() == pytest.approx(naive_balance(g_dsm, g_gap, 0.5), rel=1e-5)


@pytest.mark.parametrize("ratio", [1.0, 1.5, -0.1, math.nan, math.inf])
def test_a_ratio_outside_its_range_is_refused(ratio: float) -> None:
    g = torch.ones(2, 1, 2, 2)
    with pytest.raises(StructureError, match=r"ratio must lie in \[0, 1\)"):
        balance_coefficients(g, g, ratio)
    with pytest.raises(StructureError, match=r"ratio must lie in \[0, 1\)"):
        balance_coefficients(g, g, torch.tensor([0.5, ratio]))


@pytest.mark.parametrize("ratio", [1.0, 1.5, -0.1, math.nan, math.inf])
def test_a_callable_that_leaves_the_range_is_refused_for_one_image_alone(ratio: float) -> None:
    def profile(sigma: torch.Tensor) -> torch.Tensor:
        return torch.where(sigma > 2, ratio, 0.5)

    with pytest.raises(StructureError, match=r"ratio must lie in \[0, 1\), got \[0.5, "):
        ratios_at(profile, torch.tensor([1.0, 3.0]))
    with pytest.raises(StructureError, match=r"ratio must lie in \[0, 1\), got "):
        ratios_at(ratio, torch.tensor([1.0, 3.0]))


def test_a_callable_is_asked_for_the_ratio_of_each_noise_level() -> None:
    sigma = torch.tensor([0.0, 1.0, math.inf])
    found = ratios_at(lambda s: 0.9 / (1 + s), sigma)
    assert found.tolist() == pytest.approx([0.9, 0.45, 0.0])
    assert ratios_at(0.25, sigma) == 0.25
    with pytest.raises(StructureError, match=r"a ratio for each of 3 images from the callable, got .* shape \(2,\)"):
        ratios_at(lambda s: s[:2] * 0, sigma)


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 1), (1, 2)])
def test_ratios_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    """Broadcasting would quietly pair every image with every ratio."""
    g = torch.ones(2, 1, 2, 2)
    with pytest.raises(StructureError, match=r"one ratio, or one for each of 2 images"):
        balance_coefficients(g, g, torch.full(shape, 0.5))


@pytest.mark.parametrize("k_max", [0.0, -1.0, math.nan])
def test_a_bound_that_is_not_positive_is_refused(k_max: float) -> None:
    g = torch.ones(2, 1, 2, 2)
    with pytest.raises(StructureError, match="k_max must be positive"):
        balance_coefficients(g, g, 0.5, k_max)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gradients_are_measured_in_float32(dtype: torch.dtype) -> None:
    g_dsm, g_gap = images(3, 2, 4, 3, 8, 8, dtype=dtype)
    k = balance_coefficients(g_dsm, g_gap, 0.5)
    assert k.dtype == torch.float32
    assert torch.equal(k, balance_coefficients(g_dsm.float(), g_gap.float(), 0.5))
