"""Variations of a real image: as much noise as a strength asks for, and back (Meng et al. 2022, "SDEdit", arXiv 2108.01073)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from sadm.core.conditions import Cond
from sadm.diffusion.batching import ImageBatch, in_batches
from sadm.diffusion.class_mix import ClassMix
from sadm.diffusion.denoised import Denoiser
from sadm.diffusion.generate import SamplerSettings, check_guided, prepare
from sadm.diffusion.paths import Path
from sadm.diffusion.samplers import SOLVERS


def later_times(times: torch.Tensor, strength: float) -> torch.Tensor:
    """The last steps of a grid [steps + 1]: a share `strength` of them, rounded, and at least one.

    Raises:
        ValueError: a strength outside of (0, 1].
    """
    if not 0 < strength <= 1:
        raise ValueError(f"a strength is above 0 and at most 1, got {strength}")
    steps = len(times) - 1
    return times[steps - max(1, round(strength * steps)) :]


def standing_at(images: torch.Tensor, noise: torch.Tensor, path: Path, time: float) -> torch.Tensor:
    """What a solver must be given for noise, so that it starts at a time > 0 from `images` with `noise` [B, C, H, W].

    Solvers start from ``beta(time) noise``; with ``noise + images / sigma(time)`` that is ``alpha images + beta noise``.
    """
    return noise + images / path.sigma(time)


@torch.no_grad()
def vary_images(
    denoiser: Denoiser,
    images: torch.Tensor,
    seeds: Sequence[int],
    cond: Cond,
    null_label: int | None,
    settings: SamplerSettings,
    strength: float,
    mix: tuple[Sequence[int], torch.Tensor] | None = None,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
    weak: Denoiser | None = None,
) -> torch.Tensor:
    """Draws a variation of each image: the settings' solver, from the image with noise on it.

    Variation i depends on its own seed, image and conditioning alone. With a strength of 1 from pure noise nothing is left of
    the image.

    Args:
        denoiser: in eval mode.
        images: [N, C, H, W].
        seeds: one integer for each image.
        cond: conditioning of all images; `Cond()` for none.
        null_label: the network's null class, or None.
        settings: sampler, guidance and batch size.
        strength: share of the steps that is taken, in (0, 1] (see `later_times`).
        mix: classes, K of them, and their weights [N, K] (see `ClassMix`), instead of a label.
        device: where the denoiser is.
        progress: called with (images done, images in all).
        weak: guide by this denoiser of the same images (see `AutoGuidance`), rather than by the null class.

    Returns:
        [N, C, H, W], float32, on the CPU; in [-1, 1] unless `settings.clamp` is off.

    Raises:
        ValueError: not one seed for each image, and as `later_times`, `ClassMix` and `generate`.
    """
    guided, times = prepare(denoiser, null_label, settings, weak, cond.label)
    if mix is None:
        check_guided(settings, cond.label, weak)
    times, solver, path = later_times(times, strength), SOLVERS[settings.solver], guided.path
    options: dict[str, Any] = {"eta": settings.eta} if solver.takes_eta else {}
    if len(images) != len(seeds):
        raise ValueError(f"{len(images)} images but {len(seeds)} seeds; expected one for each")

    def varied(some: ImageBatch) -> torch.Tensor:
        start = standing_at(images[some.rows].to(some.noise), some.noise, path, float(times[0]))
        asked = guided if mix is None else ClassMix(guided, mix[0], mix[1][some.rows].to(device))
        z = solver(asked, start, times, some.cond, path, some.draw, **options)  # [b, C, H, W]
        return z.clamp(-1, 1) if settings.clamp else z

    return in_batches(varied, images.shape[1:], seeds, cond, settings.batch, device, progress)
