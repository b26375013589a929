"""From an image to the noise that makes it, along the probability-flow ODE, and what lies between the noises of two images.

Source: Song et al. 2021, arXiv 2010.02502, sections 5.3 and 5.4; here with Heun's method, on any path.
"""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import torch

from sadm.core.conditions import Cond
from sadm.diffusion.class_mix import ClassMix
from sadm.diffusion.denoised import Denoiser, per_image
from sadm.diffusion.generate import SamplerSettings, check_guided, prepare
from sadm.diffusion.grids import levels_within
from sadm.diffusion.ode import CONTRACT, heun
from sadm.diffusion.on_path import OnPath, checked_times, schedule_of
from sadm.diffusion.paths import Path


def inversion_settings(denoiser: Denoiser, settings: SamplerSettings, steps: int) -> SamplerSettings:
    """Settings for the way to the noise and back: Heun's method on the grid 'karras', within the denoiser's noise levels.

    That grid starts close to clean and ends before pure noise, where an image would leave no trace.
    """
    low, high = levels_within(schedule_of(denoiser), settings.sigma_min, settings.sigma_max)
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


@torch.no_grad()
def interpolate_images(
    denoiser: Denoiser,
    first: torch.Tensor,
    second: torch.Tensor,
    count: int,
    labels: tuple[int, int] | None,
    null_label: int | None,
    settings: SamplerSettings,
    steps: int = 40,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Images from one to another: the noises that make them, `spherical` between those, and the way back.

    Where the two are of different classes, each image between is of a mix of both by its share (`ClassMix`). On the way to the
    noise there is no guidance. The first and the last image show how well the two themselves come back.

    Args:
        denoiser: in eval mode.
        first, second: [C, H, W].
        count: of images, the two included; at least 2.
        labels: their classes, or None.
        null_label: the network's null class, or None.
        settings: guidance and range of noise levels.
        steps: each way.
        device: where the denoiser is.

    Returns:
        [count, C, H, W], float32, on the CPU; in [-1, 1] unless `settings.clamp` is off.

    Raises:
        ValueError: fewer than 2 images or steps, images of different shapes, and as `generate`.
    """
    if count < 2 or first.shape != second.shape:
        raise ValueError(
            f"expected two images of one shape and a count of at least 2, got {tuple(first.shape)}, {tuple(second.shape)} and "
            f"{count}"
        )
    settings = inversion_settings(denoiser, settings, steps)
    ends = Cond(label=None if labels is None else torch.tensor(labels, device=device))
    guided, times = prepare(denoiser, null_label, settings, labels=ends.label)
    check_guided(settings, ends.label)
    noise = encode(denoiser, torch.stack([first, second]).to(device), times, ends, guided.path)
    share = torch.linspace(0, 1, count, device=device)
    between = spherical(noise[0].expand(count, *first.shape), noise[1].expand(count, *first.shape), share)
    classes = [] if labels is None else list(dict.fromkeys(labels))
    weights = torch.stack([1 - share, share], dim=1) if len(classes) == 2 else torch.ones_like(share)[:, None]
    parts = []
    for start in range(0, count, settings.batch):
        rows = slice(start, start + settings.batch)
        asked = ClassMix(guided, classes, weights[rows]) if classes else guided
        parts.append(heun(asked, between[rows], times, Cond(), guided.path))
    images = torch.cat(parts).cpu()
    return images.clamp(-1, 1) if settings.clamp else images
