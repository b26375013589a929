"""Paths against their definitions, difference quotients, and at both ends."""

from __future__ import annotations

import math

import pytest
import torch
from diffusion_nets import as_images, normal

from sadm.diffusion import Path, StraightLine, VarianceExploding, VariancePreserving

PATHS = [VarianceExploding(), VariancePreserving(), StraightLine()]
ENDING = PATHS[1:]
TIMES = torch.tensor([1e-6, 0.01, 0.2, 0.5, 0.77, 0.999], dtype=torch.float64)
LEVELS = torch.tensor([1e-4, 0.02, 0.5, 1.0, 7.0, 80.0, 3000.0], dtype=torch.float64)


def test_the_formulas() -> None:
    for t in TIMES.tolist():
        assert (VarianceExploding().alpha(t), VarianceExploding().beta(t)) == (1, t)
        circle = VariancePreserving()
        assert circle.alpha(t) == pytest.approx(math.cos(math.pi * t / 2), rel=1e-12)
        assert circle.beta(t) == pytest.approx(math.sin(math.pi * t / 2), rel=1e-12)
        assert (StraightLine().alpha(t), StraightLine().beta(t)) == (1 - t, t)


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_derivatives_are_difference_quotients(path: Path) -> None:
    t, width = TIMES[1:-1], 1e-6
    quotient = (path.alpha(t + width) - path.alpha(t - width)) / (2 * width)
    torch.testing.assert_close(path.alpha_dot(t), quotient, rtol=1e-8, atol=1e-8)
    quotient = (path.beta(t + width) - path.beta(t - width)) / (2 * width)
    torch.testing.assert_close(path.beta_dot(t), quotient, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_time_and_noise_level_are_each_others_inverse(path: Path) -> None:
    torch.testing.assert_close(path.sigma(path.time(LEVELS)), LEVELS, rtol=1e-12, atol=0)
    torch.testing.assert_close(path.time(path.sigma(TIMES)), TIMES, rtol=1e-12, atol=0)
    torch.testing.assert_close(path.sigma(TIMES), path.beta(TIMES) / path.alpha(TIMES), rtol=0, atol=0)
    torch.testing.assert_close(path.alpha_of(LEVELS), path.alpha(path.time(LEVELS)), rtol=1e-12, atol=0)
    assert (path.time(LEVELS).diff() > 0).all()


@pytest.mark.parametrize("path", ENDING, ids=repr)
def test_the_end_in_pure_noise_is_exact_and_finite(path: Path) -> None:
    assert (path.end, path.alpha(1.0), path.beta(1.0), path.sigma(1.0), path.time(math.inf)) == (1, 0, 1, math.inf, 1)
    assert path.alpha_of(math.inf) == 0
    assert math.isfinite(path.alpha_dot(1.0))
    assert math.isfinite(path.beta_dot(1.0))
    ends = torch.tensor([0.0, 1.0])
    assert path.alpha(ends).tolist() == [1, 0]
    assert path.beta(ends).tolist() == [0, 1]
    assert path.time(torch.tensor([0.0, math.inf])).tolist() == [0, 1]


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_clean_is_time_zero(path: Path) -> None:
    assert (path.alpha(0.0), path.beta(0.0), path.sigma(0.0), path.time(0.0), path.alpha_of(0.0)) == (1, 0, 0, 0, 1)


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_a_float_is_computed_in_float64_and_a_tensor_in_its_own_precision(path: Path) -> None:
    assert isinstance(path.sigma(0.3), float)
    assert path.sigma(0.3) == float(path.sigma(torch.tensor(0.3, dtype=torch.float64)))
    assert path.time(torch.tensor([0.3])).dtype == torch.float32


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_small_noise_levels_keep_their_digits_in_float32(path: Path) -> None:
    levels = torch.logspace(-5, 2, 30, dtype=torch.float64)
    torch.testing.assert_close(path.time(levels.float()).double(), path.time(levels), rtol=3e-7, atol=0)
    torch.testing.assert_close(path.alpha_of(levels.float()).double(), path.alpha_of(levels), rtol=3e-7, atol=0)


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_dividing_by_alpha_leads_to_the_contract(path: Path) -> None:
    x0, noise, t = normal(1), normal(2), torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    z = as_images(path.alpha(t)) * x0 + as_images(path.beta(t)) * noise
    x_t = x0 + as_images(path.sigma(t)) * noise
    torch.testing.assert_close(z / as_images(path.alpha(t)), x_t, rtol=1e-12, atol=1e-12)
