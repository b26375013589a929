"""Grids: the noise levels, or the times of a path, that a solver steps through."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch

from sadm.diffusion.vp import VPSchedule

Spacing = Literal["trailing", "leading", "linspace"]


def karras_sigmas(steps: int, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> torch.Tensor:
    """The noise levels of `steps` sampling steps, descending, with a final 0 (Karras et al. 2022, arXiv 2206.00364, eq. 5).

    Another path than EDM's has them at its times ``path.time(karras_sigmas(...))``.

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


def levels_within(schedule: VPSchedule | None, low: float, high: float) -> tuple[float, float]:
    """A range of noise levels, without what lies outside of the finite ones that a schedule has; None = there is no schedule."""
    if schedule is None:
        return low, high
    finite = schedule.sigmas[torch.isfinite(schedule.sigmas)]
    return max(low, float(finite[0])), min(high, float(finite[-1]))


def uniform_times(steps: int, shift: float = 1.0) -> torch.Tensor:
    """Times from 1 to 0 in `steps` equal steps, then shifted: ``t' = shift t / (1 + (shift - 1) t)`` (arXiv 2403.03206, eq. 23).

    On the straight line that multiplies every noise level by `shift`: above 1, more steps are spent at high noise, as larger
    images need.

    Returns:
        [steps + 1], float64, from 1 (sigma = inf) to 0.

    Raises:
        ValueError: fewer than one step, or a shift that is not positive and finite.
    """
    if steps < 1 or not 0 < shift < math.inf:
        raise ValueError(f"expected steps >= 1 and 0 < shift < inf, got steps {steps}, shift {shift}")
    times = 1 - torch.arange(steps + 1, dtype=torch.float64) / steps
    return shift * times / ((1 - times) + shift * times)  # in this form exactly 1 at 1, whatever the shift


def spaced_timesteps(total: int, steps: int, spacing: Spacing = "trailing") -> torch.Tensor:
    """`steps` of the timesteps 0 … total-1, descending, under the names that diffusers gives them.

    - trailing: from the last timestep down, every ``total / steps``-th, rounded;
    - leading: from 0 up, every ``total // steps``-th, so that the noisiest are left out;
    - linspace: from the last to 0, equally spaced, both included.

    Source: Lin et al. 2023, arXiv 2305.08891, table 2, which recommends trailing.

    Returns:
        [steps], int64.

    Raises:
        ValueError: an unknown spacing; not 1 <= steps <= total; one step of another spacing than trailing, which would start
            from a clean image.
    """
    if spacing not in get_args(Spacing):
        raise ValueError(f"unknown spacing {spacing!r}; expected one of {', '.join(get_args(Spacing))}")
    fewest = 1 if spacing == "trailing" else 2
    if not fewest <= steps <= total:
        raise ValueError(
            f"expected {fewest} to {total} steps with spacing {spacing!r} of {total} timesteps, got {steps}"
        )
    if spacing == "linspace":
        return (torch.arange(steps, dtype=torch.float64) * ((total - 1) / (steps - 1))).round().long().flip(0)
    if spacing == "leading":
        return (torch.arange(steps) * (total // steps)).flip(0)
    return (total - torch.arange(steps, dtype=torch.float64) * (total / steps)).round().long() - 1


def schedule_sigmas(schedule: VPSchedule, steps: int, spacing: Spacing = "trailing") -> torch.Tensor:
    """The noise levels of `steps` timesteps of a schedule (see `spaced_timesteps`), with a final 0.

    Returns:
        [steps + 1], float64; the first is inf where the schedule ends in pure noise.
    """
    levels = schedule.sigmas[spaced_timesteps(len(schedule), steps, spacing)]
    return torch.cat([levels, torch.zeros(1, dtype=torch.float64)])
