"""Solvers that may add fresh noise at each step, each on any path and any falling grid of its times.

A step goes from time s down to t. With ``rho = sigma_t / sigma_s``, the posterior of z_t given z_s and x0 has mean
``alpha_t x0 + rho beta_t noise`` and variance ``beta_t^2 (1 - rho^2)`` on every path. No noise is added in a step that ends at
time 0: there z is x0's estimate.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch

from sadm.core.conditions import Cond
from sadm.diffusion.denoised import Denoiser
from sadm.diffusion.ode import CONTRACT, Extrapolation
from sadm.diffusion.on_path import Draw, OnPath, checked_times, fresh_noise
from sadm.diffusion.paths import Path


def ddim(
    denoiser: Denoiser,
    noise: torch.Tensor,
    times: torch.Tensor,
    cond: Cond,
    path: Path = CONTRACT,
    draw: Draw | None = None,
    eta: float = 0.0,
) -> torch.Tensor:
    """DDIM: to ``alpha_t x0_hat + sqrt(beta_t^2 - tau^2) noise_hat + tau noise``, tau = eta beta_t sqrt(1 - rho^2).

    eta 0 solves the probability-flow ODE with first order, and is Euler's method on the straight line and the
    variance-exploding path; eta 1 is `ddpm` with the smaller variance. Source: Song et al. 2021, arXiv 2010.02502, eq. 12 and 16.

    Args:
        denoiser: the contract; put it in eval mode first.
        noise: unit Gaussian [B, C, H, W].
        times: falling times of the path [steps + 1], usually ending in 0.
        cond: conditioning of the batch.
        path: in whose coordinates z is kept.
        draw: ``draw(step) -> unit Gaussian [B, C, H, W]``; needed when eta > 0.
        eta: share of the posterior's standard deviation that is drawn afresh, in [0, 1].

    Returns:
        z at the last time [B, C, H, W], in the dtype of `noise`, not clamped.

    Raises:
        ValueError: eta outside of [0, 1], no `draw` for eta > 0, and as `euler`.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must be in [0, 1], got {eta}")
    grid, on_path = checked_times(times, path), OnPath(denoiser, path, cond)
    z = noise * path.beta(grid[0])
    for step, (here, there) in enumerate(pairwise(grid)):
        x0_hat = on_path.x0_hat(z, here)  # [B, C, H, W]
        beta, kept = path.beta(there), path.sigma(there) / path.sigma(here)
        drawn = eta * beta * math.sqrt(1 - kept**2)
        z = on_path.mixed(z, x0_hat, here, there, math.sqrt(beta**2 - drawn**2))
        if drawn:
            z = z + drawn * fresh_noise(draw, step, z, "ddim with eta > 0")
    return z


def ddpm(
    denoiser: Denoiser,
    noise: torch.Tensor,
    times: torch.Tensor,
    cond: Cond,
    path: Path = CONTRACT,
    draw: Draw | None = None,
) -> torch.Tensor:
    """Ancestral sampling between any two times: the posterior of z_t given z_s, at x0 = x0_hat.

    Its variance lies between ``beta_t^2 (1 - rho^2)``, right for data at a point, and ``beta_s^2 (1 - rho^2)``, that of the
    noise added from t to s, right for Gaussian data on the variance-preserving path. A denoiser that predicts a variance
    (`Prediction`) says where between their logarithms; otherwise the smaller one is used. Sources: Ho et al. 2020, arXiv
    2006.11239, eq. 6 and 7; Nichol & Dhariwal 2021, arXiv 2102.09672, eq. 15.

    Args:
        denoiser: the contract; put it in eval mode first.
        noise: unit Gaussian [B, C, H, W].
        times: falling times of the path [steps + 1], usually ending in 0.
        cond: conditioning of the batch.
        path: in whose coordinates z is kept.
        draw: ``draw(step) -> unit Gaussian [B, C, H, W]``.

    Returns:
        z at the last time [B, C, H, W], in the dtype of `noise`, not clamped.

    Raises:
        ValueError: no `draw`, and as `euler`.
    """
    grid, on_path = checked_times(times, path), OnPath(denoiser, path, cond)
    z = noise * path.beta(grid[0])
    for step, (here, there) in enumerate(pairwise(grid)):
        z = ancestral_step(on_path, z, here, there, draw, step, "ddpm")
    return z


def ancestral_step(
    on_path: OnPath, z: torch.Tensor, here: float, there: float, draw: Draw | None, step: int, solver: str
) -> torch.Tensor:
    """A step of `ddpm`, from z [B, C, H, W] at time here to time there, with the noise ``draw(step)`` unless there is 0."""
    prediction = on_path.prediction(z, here)
    large, small = on_path.path.beta(here), on_path.path.beta(there)
    kept = on_path.path.sigma(there) / on_path.path.sigma(here)
    z = on_path.mixed(z, prediction.x0_hat, here, there, kept * small)
    if there == 0:
        return z
    added = math.sqrt(1 - kept**2) * fresh_noise(draw, step, z, solver)
    if prediction.variance is None:
        return z + small * added
    return z + small * (large / small) ** prediction.variance * added  # exp of a sum of logarithms, halved: eq. 15


def dpmpp_2m_sde(
    denoiser: Denoiser,
    noise: torch.Tensor,
    times: torch.Tensor,
    cond: Cond,
    path: Path = CONTRACT,
    draw: Draw | None = None,
) -> torch.Tensor:
    """SDE-DPM-Solver++(2M): `dpmpp_2m` for the reverse SDE, with fresh noise at each step; one network evaluation a step.

    Its first-order step is `ddim` with eta = 1. Source: Lu et al. 2022, arXiv 2211.01095, appendix on SDE solvers.

    Args:
        denoiser: the contract; put it in eval mode first.
        noise: unit Gaussian [B, C, H, W].
        times: falling times of the path [steps + 1], usually ending in 0.
        cond: conditioning of the batch.
        path: in whose coordinates z is kept.
        draw: ``draw(step) -> unit Gaussian [B, C, H, W]``.

    Returns:
        z at the last time [B, C, H, W], in the dtype of `noise`, not clamped.

    Raises:
        ValueError: no `draw`, and as `euler`.
    """
    grid, on_path = checked_times(times, path), OnPath(denoiser, path, cond)
    z = noise * path.beta(grid[0])
    middle = Extrapolation()
    for step, (here, there) in enumerate(pairwise(grid)):
        x0_hat = on_path.x0_hat(z, here)  # [B, C, H, W]
        if there == 0:
            return x0_hat
        beta, before, after = path.beta(there), path.sigma(here), path.sigma(there)
        kept = after / before
        fresh = beta * math.sqrt(1 - kept**2) * fresh_noise(draw, step, z, "dpmpp_2m_sde")
        settled = path.alpha(there) * (1 - kept**2) * middle(x0_hat, before, after)  # [B, C, H, W]
        z = beta / path.beta(here) * kept * z + settled + fresh
    return z
