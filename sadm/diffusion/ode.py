"""Deterministic solvers of the probability-flow ODE, each on any path and any falling grid of its times.

All start from ``z = beta(times[0]) noise``, which forgets the data's share alpha(times[0]) x0: start at high noise. They return
z at the last time of the grid, which is x0's estimate when that is 0.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch

from sadm.core.conditions import Cond
from sadm.diffusion.denoised import Denoiser
from sadm.diffusion.on_path import Draw, OnPath, checked_times
from sadm.diffusion.paths import Path, VarianceExploding

CONTRACT = VarianceExploding()


def euler(
    denoiser: Denoiser,
    noise: torch.Tensor,
    times: torch.Tensor,
    cond: Cond,
    path: Path = CONTRACT,
    draw: Draw | None = None,
) -> torch.Tensor:
    """Euler's method in the path's time: first order, one network evaluation a step.

    On the variance-exploding path and on the straight line a step is linear in t, and Euler's method is DDIM with eta = 0, up
    to rounding. On the variance-preserving circle it leaves the circle, and DDIM does not: prefer that. A last step to 0 ends at
    x0_hat, as DDIM's does, on every path; along the tangent of the circle it would keep a share of the noise.

    Args:
        denoiser: the contract; put it in eval mode first.
        noise: unit Gaussian [B, C, H, W].
        times: falling times of the path [steps + 1], usually ending in 0.
        cond: conditioning of the batch.
        path: in whose coordinates to integrate.
        draw: not used; here so that all solvers are called alike.

    Returns:
        z at the last time [B, C, H, W], in the dtype of `noise`, not clamped.

    Raises:
        ValueError: times that do not fall or leave the path; sigma = inf for a denoiser that can't be asked there.
    """
    grid, on_path = checked_times(times, path), OnPath(denoiser, path, cond)
    z = noise * path.beta(grid[0])
    for here, there in pairwise(grid):
        z = on_path.x0_hat(z, here) if there == 0 else z + (there - here) * on_path.velocity(z, here)
    return z


def heun(
    denoiser: Denoiser,
    noise: torch.Tensor,
    times: torch.Tensor,
    cond: Cond,
    path: Path = CONTRACT,
    draw: Draw | None = None,
) -> torch.Tensor:
    """Heun's method in the path's time: second order, two network evaluations a step; a last step to 0 is `euler`'s.

    Source: Karras et al. 2022, arXiv 2206.00364, algorithm 1 (there on the variance-exploding path).

    Args:
        denoiser: the contract; put it in eval mode first.
        noise: unit Gaussian [B, C, H, W].
        times: falling times of the path [steps + 1], usually ending in 0; on the default path they are noise levels.
        cond: conditioning of the batch.
        path: in whose coordinates to integrate.
        draw: not used; here so that all solvers are called alike.

    Returns:
        z at the last time [B, C, H, W], in the dtype of `noise`, not clamped.

    Raises:
        ValueError: as `euler`.
    """
    grid, on_path = checked_times(times, path), OnPath(denoiser, path, cond)
    z = noise * path.beta(grid[0])
    for here, there in pairwise(grid):
        if there == 0:
            return on_path.x0_hat(z, here)
        first = on_path.velocity(z, here)  # [B, C, H, W]
        guess = z + (there - here) * first
        z = z + (there - here) * (first + on_path.velocity(guess, there)) / 2
    return z


def dpmpp_2m(
    denoiser: Denoiser,
    noise: torch.Tensor,
    times: torch.Tensor,
    cond: Cond,
    path: Path = CONTRACT,
    draw: Draw | None = None,
) -> torch.Tensor:
    """The second-order multistep DPM-Solver++: one network evaluation a step.

    In ``lambda = -ln sigma`` the ODE's linear part is solved exactly, and x0_hat is extrapolated along its last two values
    to the middle of the step. From alpha = 0, where lambda is -inf, the step's limit is a DDIM step; so is that of the one
    after, since a value infinitely far away says nothing of the slope. Source: Lu et al. 2022, arXiv 2211.01095, algorithm 2.

    Args:
        denoiser: the contract; put it in eval mode first.
        noise: unit Gaussian [B, C, H, W].
        times: falling times of the path [steps + 1], usually ending in 0; on the default path they are noise levels.
        cond: conditioning of the batch.
        path: in whose coordinates z is kept; apart from rounding, the result depends on the noise levels alone.
        draw: not used; here so that all solvers are called alike.

    Returns:
        z at the last time [B, C, H, W], in the dtype of `noise`, not clamped.

    Raises:
        ValueError: as `euler`.
    """
    grid, on_path = checked_times(times, path), OnPath(denoiser, path, cond)
    z = noise * path.beta(grid[0])
    middle = Extrapolation()
    for here, there in pairwise(grid):
        x0_hat = on_path.x0_hat(z, here)  # [B, C, H, W]
        if there == 0:
            return x0_hat  # the step is infinitely wide in lambda: nothing is left of z
        before, after = path.sigma(here), path.sigma(there)
        settled = path.alpha(there) * (1 - after / before) * middle(x0_hat, before, after)  # [B, C, H, W]
        z = path.beta(there) / path.beta(here) * z + settled
    return z


class Extrapolation:
    """x0_hat in the middle of a step in lambda = -ln sigma, along the last two values."""

    def __init__(self) -> None:
        self.before: torch.Tensor | None = None
        self.last_width = 0.0

    def __call__(self, x0_hat: torch.Tensor, here: float, there: float) -> torch.Tensor:
        """Takes x0_hat at the start of a step between two noise levels, here > there > 0; returns that in its middle."""
        width = math.log(here / there)  # inf from sigma = inf
        before, last_width = self.before, self.last_width
        self.before, self.last_width = x0_hat, width
        return x0_hat if before is None else torch.lerp(before, x0_hat, 1 + width / (2 * last_width))
