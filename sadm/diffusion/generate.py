"""Images from seeds: image i depends on its own seed and label alone, not on the batch it was drawn in."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch

from sadm.core.conditions import Cond
from sadm.core.seeds import derive_seed, noise_per_image
from sadm.diffusion.denoised import Denoiser
from sadm.diffusion.guidance import ClassifierFreeGuidance
from sadm.diffusion.samplers import SOLVERS, karras_sigmas


@dataclasses.dataclass(frozen=True)
class SamplerSettings:
    """A solver of `SOLVERS` and its grid (see `karras_sigmas`). ``guidance_scale`` 1 = off."""

    solver: str = "heun"
    steps: int = 18
    guidance_scale: float = 1.0
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0
    batch: int = 256


def image_seeds(seed: int, count: int) -> list[int]:
    """Seeds of the first `count` images in the sequence that belongs to `seed`."""
    return [derive_seed(seed, "image", index) for index in range(count)]


@torch.no_grad()
def generate(
    denoiser: Denoiser,
    shape: Sequence[int],
    seeds: Sequence[int],
    labels: torch.Tensor | None,
    null_label: int | None,
    settings: SamplerSettings,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> torch.Tensor:
    """Draws one image for each seed.

    Args:
        denoiser: in eval mode.
        shape: of one image, (C, H, W).
        seeds: one integer for each image.
        labels: class indices [N], or None.
        null_label: the network's null class, or None.
        settings: sampler, guidance and batch size.
        device: where the denoiser is.
        progress: called with (images done, images in all).

    Returns:
        [N, C, H, W], float32 in [-1, 1] (clamped), on the CPU.

    Raises:
        ValueError: settings that make no sense, or not one label for each seed.
    """
    if settings.batch < 1:
        raise ValueError(f"batch must be at least 1, got {settings.batch}")
    if labels is not None and labels.shape != (len(seeds),):
        raise ValueError(f"{len(seeds)} images but labels of shape {tuple(labels.shape)}; expected one for each")
    if settings.solver not in SOLVERS:
        raise ValueError(f"unknown solver {settings.solver!r}; expected one of {', '.join(SOLVERS)}")
    guided = ClassifierFreeGuidance(denoiser, settings.guidance_scale, null_label)
    sigmas = karras_sigmas(settings.steps, settings.sigma_min, settings.sigma_max, settings.rho)
    images = torch.empty(len(seeds), *shape)
    for start in range(0, len(seeds), settings.batch):
        part = slice(start, start + settings.batch)
        noise = noise_per_image(seeds[part], shape).to(device)
        cond = Cond(label=None if labels is None else labels[part].to(device))
        images[part] = SOLVERS[settings.solver](guided, noise, sigmas, cond).clamp(-1, 1).cpu()
        progress(min(start + settings.batch, len(seeds)), len(seeds))
    return images
