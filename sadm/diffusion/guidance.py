"""Classifier-free guidance as a denoiser around a denoiser (Ho & Salimans 2022, arXiv 2207.12598)."""

from __future__ import annotations

import torch

from sadm.core.conditions import Cond
from sadm.diffusion.denoised import Denoiser


class ClassifierFreeGuidance:
    """``x0_hat = unconditional + guidance_scale * (conditional - unconditional)``; both in one call of double batch.

    Args:
        denoiser: a denoiser whose network was trained with label dropout.
        guidance_scale: 1 = off.
        null_label: the network's null class.

    Raises:
        ValueError: guidance is asked of a network without a null class.
    """

    def __init__(self, denoiser: Denoiser, guidance_scale: float, null_label: int | None) -> None:
        if guidance_scale != 1 and null_label is None:
            raise ValueError(
                f"guidance_scale {guidance_scale} needs a network with classes; this one has no null class. Use guidance_scale 1"
            )
        self.denoiser = denoiser
        self.guidance_scale = guidance_scale
        self.null_label = null_label

    def __call__(self, x_t: torch.Tensor, sigma: torch.Tensor, cond: Cond) -> torch.Tensor:
        if self.guidance_scale == 1 or cond.label is None or self.null_label is None:
            return self.denoiser(x_t, sigma, cond)
        without = cond.without_label(self.null_label)
        doubled = Cond(**{name: _stack(getattr(cond, name), getattr(without, name)) for name in vars(cond)})
        both = self.denoiser(torch.cat([x_t, x_t]), torch.cat([sigma, sigma]), doubled)  # [2B, C, H, W]
        conditional, unconditional = both.chunk(2)
        return unconditional + self.guidance_scale * (conditional - unconditional)


def _stack(first: torch.Tensor | None, second: torch.Tensor | None) -> torch.Tensor | None:
    return None if first is None or second is None else torch.cat([first, second])
