"""From an image to the noise that makes it, along the probability-flow ODE, and what lies between the noises of two images.

Source: Song et al. 2021, arXiv 2010.02502, sections 5.3 and 5.4; here with Heun's method, on any path.
"""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import torch

from sadm.core.conditions import Cond
from sadm.diffusion.denoised import Denoiser, per_image
from sadm.diffusion.generate import SamplerSettings
from sadm.diffusion.ode import CONTRACT
from sadm.diffusion.on_path import OnPath, checked_times, schedule_of
from sadm.diffusion.paths import Path


def inversion_settings(denoiser: Denoiser, settings: SamplerSettings, steps: int) -> SamplerSettings:
    """Settings for the way to the noise and back: Heun's method on the grid 'karras', within the denoiser's noise levels.

    That grid starts close to clean and ends before pure noise, where an image would leave no trace.
    """
    low, high, schedule = settings.sigma_min, settings.sigma_max, schedule_of(denoiser)
    if schedule is not None:
        finite = schedule.sigmas[torch.isfinite(schedule.sigmas)]
        low, high = max(low, float(finite[0])), min(high, float(finite[-1]))
    return dataclasses.replace(
        settings, solver="heun", eta=0.0, steps=steps, grid="karras", shift=1.0, sigma_min=low, sigma_max=high
    )


def encode(
    denoiser: Denoiser, images: torch.Tensor, times: torch.Tensor, cond: Cond, path: Path = CONTRACT
) -> torch.Tensor:
    """The noise from which a solver of the probability-flow ODE draws these images, by Heun's method up the grid.

    Args:
        denoiser: the contract; put it in eval mode first.
        images: [B, C, H, W].
        times: the solver's: falling times of the path [steps + 1], with 0 at the end. From 0 to the one before, where the network
            can't be asked for a direction, an image is taken to stay as it is: let that be close to 0.
        cond: conditioning of the batch.
        path: in whose coordinates to integrate.

    Returns:
        What to give the solver for noise [B, C, H, W].

    Raises:
        ValueError: times that do not end in 0, and as `heun`.
    """
    grid, on_path = checked_times(times, path), OnPath(denoiser, path, cond)
    if grid[-1] != 0 or len(grid) < 3:
        raise ValueError(f"expected at least 3 times that end in 0, got {len(grid)} that end in {grid[-1]:g}")
    upwards = grid[-2::-1]
    z = path.alpha(upwards[0]) * images
    for here, there in pairwise(upwards):
        first = on_path.velocity(z, here)  # [B, C, H, W]
        guess = z + (there - here) * first
        z = z + (there - here) * (first + on_path.velocity(guess, there)) / 2
    return z / path.beta(upwards[-1])


def spherical(first: torch.Tensor, second: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Points on the great arcs between noises [B, C, H, W], a share [B] of the way: they keep the norm that noise has.

    Where two noises point the same way or opposite ways no arc is the shortest; there the line is taken.
    """
    a, b = first.flatten(1), second.flatten(1)
    cosine = torch.nn.functional.cosine_similarity(a, b).clamp(-1, 1)
    angle = torch.acos(cosine)
    sine, share = torch.sin(angle), share.to(first)
    straight = sine < math.sqrt(torch.finfo(first.dtype).eps)
    safe = torch.where(straight, torch.ones_like(sine), sine)
    ours = torch.where(straight, 1 - share, torch.sin((1 - share) * angle) / safe)
    theirs = torch.where(straight, share, torch.sin(share * angle) / safe)
    return per_image(ours, first) * first + per_image(theirs, first) * second
