"""Ancestral sampling that is held to something known at each noise level, going back and forth between levels.

A sampler that is held to what is known makes the rest from what it saw one step earlier. Going back to a higher noise level and
down again gives it another look, so that the two come to agree (Lugmayr et al. 2022, arXiv 2201.09865, "resampling").
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch

from sadm.core.conditions import Cond
from sadm.diffusion.denoised import Denoiser
from sadm.diffusion.on_path import Draw, OnPath, checked_times, fresh_noise
from sadm.diffusion.paths import Path
from sadm.diffusion.stochastic import ancestral_step

Hold = Callable[[torch.Tensor, float, Callable[[], torch.Tensor]], torch.Tensor]
"""Puts what is known into z [B, C, H, W] at a time; the third argument draws unit noise like z."""


def visits(steps: int, resample: int = 1, jump: int = 1, last: int | None = None) -> list[int]:
    """The order in which the times of a grid are visited, as indices from 0 (noisiest) to `steps` (clean).

    Arriving for the first time at index `last`, and at each `jump` steps before that, it goes back `jump` steps, and does so
    ``resample - 1`` times.

    Args:
        steps: of the grid; it has one time more.
        resample: how often each stretch is walked down; 1 = no going back.
        jump: length of a stretch, in steps.
        last: the least noisy index that is gone back from; None = ``steps - 1``.

    Raises:
        ValueError: fewer than one of any.
    """
    if min(steps, resample, jump) < 1:
        raise ValueError(f"expected steps, resample and jump of at least 1, got {steps}, {resample} and {jump}")
    last = steps - 1 if last is None else min(last, steps - 1)
    order = [0]
    for index in range(1, steps + 1):
        order.append(index)
        if jump <= index <= last and (last - index) % jump == 0:
            order += [*range(index - jump, index + 1)] * (resample - 1)
    return order


def evaluations(steps: int, resample: int = 1, jump: int = 1) -> int:
    """Network evaluations of one walk along `visits`, with one for each step down."""
    order = visits(steps, resample, jump)
    return sum(there > here for here, there in pairwise(order))


def noised_further(z: torch.Tensor, path: Path, here: float, there: float, noise: torch.Tensor) -> torch.Tensor:
    """z [B, C, H, W] at time here, taken by unit noise to the higher noise of time there; x0 in it stays the same."""
    kept = path.alpha(there) / path.alpha(here)
    return kept * z + math.sqrt(path.beta(there) ** 2 - (kept * path.beta(here)) ** 2) * noise


def held_sampling(
    denoiser: Denoiser,
    noise: torch.Tensor,
    times: torch.Tensor,
    cond: Cond,
    path: Path,
    draw: Draw | None,
    hold: Hold,
    resample: int,
    jump: int,
    name: str,
    down_to: float = 0.0,
) -> torch.Tensor:
    """`ddpm` along `visits`, with `hold` applied at the start and after each step down; `name` is for messages.

    Steps of `draw` are counted on beyond those of the grid; for the rest see `inpaint`. It goes back from noise levels of at
    least `down_to`: where nothing is held, going back and forth would forget what was held above.
    """
    grid, on_path = checked_times(times, path), OnPath(denoiser, path, cond)
    last = sum(path.sigma(time) >= down_to for time in grid) - 1
    order = visits(len(grid) - 1, resample, jump, last)
    z = hold(noise * path.beta(grid[0]), grid[0], lambda: noise)
    for move, (before, after) in enumerate(pairwise(order)):
        here, there = grid[before], grid[after]
        if after < before:
            z = noised_further(z, path, here, there, fresh_noise(draw, 2 * move, z, name))
            continue
        z = ancestral_step(on_path, z, here, there, draw, 2 * move, name)

        def fresh(step: int = 2 * move + 1, like: torch.Tensor = z) -> torch.Tensor:
            return fresh_noise(draw, step, like, name)

        z = hold(z, there, fresh)
    return z
