"""Contrastive flow matching in EDM's terms, against its definition in the network's output space."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from signal_steps import SIGMA_DATA, as_dtype, made_up
from torch import nn

from sadm.core.conditions import Cond
from sadm.core.errors import UserError
from sadm.diffusion import Denoised, EDMDenoiser
from sadm.signals import ContrastiveSignal


def definition(denoised: Denoised, x0_hat: torch.Tensor, weight: float) -> torch.Tensor:
    """``-weight mean_i mean_{j != i} mean_pixels (F_i - F_ij)^2`` with the coefficients of Karras et al., table 1, in loops."""
    batch, terms = len(x0_hat), []
    for i in range(batch):
        sigma = denoised.sigma[i]
        c_skip = SIGMA_DATA**2 / (sigma**2 + SIGMA_DATA**2)
        c_out = sigma * SIGMA_DATA / (sigma**2 + SIGMA_DATA**2).sqrt()
        output = (x0_hat[i] - c_skip * denoised.x_t[i]) / c_out
        for j in range(batch):
            if j != i:
                other = denoised.x0[j] + sigma * denoised.noise[j]
                target = (denoised.x0[j] - c_skip * other) / c_out
                terms.append((output - target).square().mean() / (batch - 1))
    return -weight * sum(terms) / batch


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-4), (torch.float64, 1e-11)])
def test_the_gradient_against_the_definition(dtype, rtol) -> None:
    exact, _ = made_up(batch=5, dtype=torch.float64)
    leaf = exact.x0_hat.clone().requires_grad_()
    (expected,) = torch.autograd.grad(definition(exact, leaf, 0.2), leaf)
    given = as_dtype(exact, dtype)
    step = ContrastiveSignal(SIGMA_DATA, 0.2)(given, torch.zeros_like(given.x0))
    assert step.gradient.dtype == dtype
    torch.testing.assert_close(step.gradient.double(), expected, rtol=rtol, atol=rtol * float(expected.abs().mean()))


def test_what_is_logged_is_the_loss_up_to_a_constant() -> None:
    first, g_dsm = made_up(batch=5, dtype=torch.float64)
    signal, moved = ContrastiveSignal(SIGMA_DATA, 0.2), first.x0_hat + 0.3
    logged = [signal(step, g_dsm).log for step in (first, dataclasses.replace(first, x0_hat=moved))]
    difference = float(logged[1]["contrastive"] - logged[0]["contrastive"])
    expected = definition(first, moved, 0.2) - definition(first, first.x0_hat, 0.2)
    assert -0.2 * difference == pytest.approx(float(expected), rel=1e-10)


def test_the_networks_target_is_a_velocity() -> None:
    """F* = sin(phi) x0 / sigma_data - cos(phi) noise, minus the derivative of cos(phi) x0 / sigma_data + sin(phi) noise."""
    denoised, _ = made_up(dtype=torch.float64)
    denoiser = EDMDenoiser(nn.Identity(), SIGMA_DATA)
    c_skip, c_out, *_ = (value.reshape(-1, 1, 1, 1) for value in denoiser.coefficients(denoised.sigma))
    phi = (denoised.sigma / SIGMA_DATA).atan().reshape(-1, 1, 1, 1).requires_grad_()
    path = phi.cos() * denoised.x0 / SIGMA_DATA + phi.sin() * denoised.noise
    columns = [torch.autograd.grad(path.flatten(1)[:, p].sum(), phi, retain_graph=True)[0].flatten() for p in range(20)]
    velocity = torch.stack(columns, dim=1).reshape(denoised.x0.shape)
    torch.testing.assert_close((denoised.x0 - c_skip * denoised.x_t) / c_out, -velocity)


def expected_pull(x0_hat: float, x_t: float, sigma: float, values: list[float], weight: float) -> tuple[float, float]:
    """E[gradient | x_t] of the denoising loss and of the signal, for data that are one of `values`, with equal chances.

    The other pairs of the batch are all values with the noises -1.3 and 1.3: their means are exact.
    """
    likelihood = [math.exp(-((x_t - value) ** 2) / (2 * sigma**2)) for value in values]
    others = torch.tensor([[value, noise] for value in values for noise in (-1.3, 1.3)], dtype=torch.float64)
    dsm = pull = 0.0
    for value, chance in zip(values, (p / sum(likelihood) for p in likelihood), strict=True):
        x0 = torch.cat([torch.tensor([value], dtype=torch.float64), others[:, 0]]).reshape(-1, 1, 1, 1)
        noise = torch.cat([torch.tensor([(x_t - value) / sigma], dtype=torch.float64), others[:, 1]])
        levels = torch.full((len(x0),), sigma, dtype=torch.float64)
        w = EDMDenoiser(nn.Identity(), SIGMA_DATA).loss_weight(levels)
        noise = noise.reshape(-1, 1, 1, 1)
        prediction = torch.full_like(x0, x0_hat)
        step = ContrastiveSignal(SIGMA_DATA, weight)(
            Denoised(x0, x0 + sigma * noise, levels, noise, Cond(), prediction, w), torch.zeros_like(x0)
        )
        dsm += chance * 2 * float(w[0]) * (x0_hat - value) / len(x0)
        pull += chance * float(step.gradient[0])
    return dsm, pull


@pytest.mark.parametrize(("x_t", "sigma", "weight"), [(0.3, 0.4, 0.05), (-1.1, 2.0, 0.3), (0.0, 0.1, 0.05)])
def test_the_fixed_point_is_pushed_away_from_the_linear_estimate(x_t, sigma, weight) -> None:
    values = [-0.8, 0.1, 0.9]
    likelihood = [math.exp(-((x_t - value) ** 2) / (2 * sigma**2)) for value in values]
    posterior_mean = sum(p * value for p, value in zip(likelihood, values, strict=True)) / sum(likelihood)
    c_skip = SIGMA_DATA**2 / (sigma**2 + SIGMA_DATA**2)
    linear = c_skip * x_t + (1 - c_skip) * sum(values) / 3
    fixed = posterior_mean + weight / (1 - weight) * (posterior_mean - linear)
    dsm, pull = expected_pull(fixed, x_t, sigma, values, weight)
    assert dsm == pytest.approx(-pull, rel=1e-9)
    dsm, pull = expected_pull(posterior_mean, x_t, sigma, values, weight)
    assert dsm == pytest.approx(0.0, abs=1e-12)
    assert abs(pull) > 1e-6  # at the posterior mean it still pulls: the signal is biased


def test_weight_zero_adds_zeros_and_half_precision_is_computed_wide() -> None:
    denoised, g_dsm = made_up()
    step = ContrastiveSignal(SIGMA_DATA, 0.0)(denoised, g_dsm)
    assert torch.equal(step.gradient, torch.zeros_like(g_dsm))
    half, g_half = made_up(dtype=torch.bfloat16)
    found = ContrastiveSignal(SIGMA_DATA)(half, g_half)
    wide = ContrastiveSignal(SIGMA_DATA)(as_dtype(half, torch.float32), g_half.float())
    assert torch.equal(found.gradient, wide.gradient.bfloat16())


@pytest.mark.parametrize("weight", [1.0, -0.1, math.nan])
def test_a_weight_without_a_minimum_is_refused(weight: float) -> None:
    with pytest.raises(UserError, match=r"a weight in \[0, 1\)"):
        ContrastiveSignal(SIGMA_DATA, weight)


def test_one_image_has_no_other_pair() -> None:
    with pytest.raises(UserError, match="holds 1 image. Use a larger batch"):
        ContrastiveSignal(SIGMA_DATA)(*made_up(batch=1))
