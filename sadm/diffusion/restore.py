"""Restored images from seeds, by the sampler that suits what has happened to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from sadm.core.conditions import Cond
from sadm.diffusion.batching import ImageBatch, in_batches
from sadm.diffusion.clipped import Clipped
from sadm.diffusion.denoised import Denoiser
from sadm.diffusion.generate import SamplerSettings, check_guided, prepare
from sadm.diffusion.null_space import null_space
from sadm.diffusion.operators import Operator, Projecting
from sadm.diffusion.posterior import Posterior
from sadm.diffusion.samplers import SOLVERS


@torch.no_grad()
def restore_images(
    denoiser: Denoiser,
    operator: Operator,
    measured: torch.Tensor,
    shape: Sequence[int],
    seeds: Sequence[int],
    cond: Cond,
    null_label: int | None,
    settings: SamplerSettings,
    noise_level: float = 0.0,
    spread: float = 0.5,
    resample: int = 1,
    jump: int = 1,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> torch.Tensor:
    """Draws images x that explain ``y = A x + noise``: by `null_space` where A allows it, else with the solver and `Posterior`.

    Image i depends on its own seed, measurement and conditioning alone.

    Args:
        denoiser: in eval mode.
        operator: A, for all images or for each.
        measured: y of each image [N, ...].
        shape: of one image, (C, H, W).
        seeds: one integer for each image.
        cond: conditioning of all images; `Cond()` for none.
        null_label: the network's null class, or None.
        settings: sampler, guidance and batch size; the solver and eta are used with `Posterior` alone.
        noise_level: standard deviation of y's noise; above 0 where A is no `Projecting`.
        spread: standard deviation of the images' pixels, for `Posterior`.
        resample, jump: see `visits`; for `null_space`.
        device: where the denoiser is.
        progress: called with (images done, images in all).

    Returns:
        [N, C, H, W], float32, on the CPU; in [-1, 1] unless `settings.clamp` is off.

    Raises:
        ValueError: not one seed for each measurement, and as `null_space`, `Posterior` and `generate`.
    """
    guided, times = prepare(denoiser, null_label, settings, labels=cond.label)
    check_guided(settings, cond.label)
    if len(measured) != len(seeds):
        raise ValueError(f"{len(measured)} measurements but {len(seeds)} seeds; expected one for each")
    solver = SOLVERS[settings.solver]
    options: dict[str, Any] = {"eta": settings.eta} if solver.takes_eta else {}

    def drawn(some: ImageBatch) -> torch.Tensor:
        own, y = operator.of(some.rows), measured[some.rows].to(device)
        if isinstance(own, Projecting):
            how: dict[str, Any] = {
                "operator": own,
                "measured": y,
                "noise_level": noise_level,
                "resample": resample,
                "jump": jump,
            }
            z = null_space(guided, some.noise, times, some.cond, guided.path, some.draw, **how)
        else:
            pulled: Denoiser = Posterior(guided, own, y, noise_level, spread)
            pulled = Clipped(pulled) if settings.clamp else pulled
            z = solver(pulled, some.noise, times, some.cond, guided.path, some.draw, **options)
        return z.clamp(-1, 1) if settings.clamp else z

    return in_batches(drawn, shape, seeds, cond, settings.batch, device, progress)
