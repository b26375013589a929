"""Deterministic sampling: Heun's method and DPM-Solver++(2M), each on a grid of noise levels."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch

from sadm.core.conditions import Cond
from sadm.diffusion.denoised import Denoiser


def karras_sigmas(steps: int, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> torch.Tensor:
    """The noise levels of `steps` sampling steps, descending, with a final 0 (eq. 5).

    Returns:
        [steps + 1], float64, so that the grid itself carries no rounding.

    Raises:
        ValueError: fewer than one step, not 0 < sigma_min < sigma_max < inf, or rho <= 0.
    """
    if steps < 1 or not 0 < sigma_min < sigma_max < math.inf or not rho > 0:
        raise ValueError(
            "expected steps >= 1, 0 < sigma_min < sigma_max < inf and rho > 0, got "
            f"steps {steps}, sigma_min {sigma_min}, sigma_max {sigma_max}, rho {rho}"
        )
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return torch.cat([(high + ramp * (low - high)) ** rho, torch.zeros(1, dtype=torch.float64)])


def heun_nfe(steps: int) -> int:
    """Network evaluations of `heun` with `steps` steps; the last step, to sigma = 0, is an Euler step."""
    return 2 * steps - 1


def solver_nfe(solver: str, steps: int) -> int:
    """Network evaluations of `steps` steps of a solver in `SOLVERS`."""
    return heun_nfe(steps) if solver == "heun" else steps


def heun(denoiser: Denoiser, noise: torch.Tensor, sigmas: torch.Tensor, cond: Cond) -> torch.Tensor:
    """Integrates the probability-flow ODE ``dx/dsigma = (x - x0_hat) / sigma`` with Heun's second-order method.

    Source: Karras et al. 2022, arXiv 2206.00364, algorithm 1.

    Args:
        denoiser: the contract; put it in eval mode first.
        noise: unit Gaussian [B, C, H, W].
        sigmas: descending noise levels ending in 0, [steps + 1].
        cond: conditioning of the batch.

    Returns:
        Samples [B, C, H, W] in the dtype of `noise`, not clamped.
    """
    grid = [float(sigma) for sigma in sigmas]

    def slope(x: torch.Tensor, sigma: float) -> torch.Tensor:
        return (x - denoiser(x, x.new_full((len(x),), sigma), cond)) / sigma

    x = noise * grid[0]
    for here, there in pairwise(grid):
        first = slope(x, here)  # [B, C, H, W]
        euler = x + (there - here) * first
        x = euler if there == 0 else x + (there - here) * (first + slope(euler, there)) / 2
    return x


def dpmpp_2m(denoiser: Denoiser, noise: torch.Tensor, sigmas: torch.Tensor, cond: Cond) -> torch.Tensor:
    """Integrates the same ODE with the second-order multistep DPM-Solver++: one network evaluation a step.

    In ``lambda = -ln sigma`` the ODE's linear part is solved exactly, and x0_hat is extrapolated along its last two values
    to the middle of the step. Source: Lu et al. 2022, arXiv 2211.01095, algorithm 2, for alpha = 1.

    Args:
        denoiser: the contract; put it in eval mode first.
        noise: unit Gaussian [B, C, H, W].
        sigmas: descending noise levels ending in 0, [steps + 1].
        cond: conditioning of the batch.

    Returns:
        Samples [B, C, H, W] in the dtype of `noise`, not clamped.
    """
    grid = [float(sigma) for sigma in sigmas]
    x = noise * grid[0]
    before: torch.Tensor | None = None
    last_width = 0.0
    for here, there in pairwise(grid):
        x0_hat = denoiser(x, x.new_full((len(x),), here), cond)  # [B, C, H, W]
        if there == 0:
            return x0_hat  # the step is infinitely wide in lambda: nothing is left of x
        width = math.log(here / there)
        middle = x0_hat if before is None else torch.lerp(before, x0_hat, 1 + width / (2 * last_width))
        x = (there / here) * x + (1 - there / here) * middle
        before, last_width = x0_hat, width
    return x


Solver = Callable[[Denoiser, torch.Tensor, torch.Tensor, Cond], torch.Tensor]

SOLVERS: dict[str, Solver] = {"heun": heun, "dpmpp_2m": dpmpp_2m}
