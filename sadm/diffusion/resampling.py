"""Going back and forth between noise levels, so that what is known and what is made come to agree.

A sampler that is held to something known at each step makes the rest from what it saw one step earlier. Going back to a higher
noise level and down again gives it another look (Lugmayr et al. 2022, arXiv 2201.09865, section 4.2, "resampling").
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch

from sadm.diffusion.paths import Path


def visits(steps: int, resample: int = 1, jump: int = 1) -> list[int]:
    """The order in which the times of a grid are visited, as indices from 0 (noisiest) to `steps` (clean).

    Arriving for the first time at index ``steps - 1``, and at each `jump` steps before that, it goes back `jump` steps, and
    does so ``resample - 1`` times.

    Args:
        steps: of the grid; it has one time more.
        resample: how often each stretch is walked down; 1 = no going back.
        jump: length of a stretch, in steps.

    Raises:
        ValueError: fewer than one of any.
    """
    if min(steps, resample, jump) < 1:
        raise ValueError(f"expected steps, resample and jump of at least 1, got {steps}, {resample} and {jump}")
    order = [0]
    for index in range(1, steps + 1):
        order.append(index)
        if index >= jump and index < steps and (steps - 1 - index) % jump == 0:
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
