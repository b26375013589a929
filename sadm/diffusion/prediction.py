"""What a network says of an image beyond the estimate itself."""

from __future__ import annotations

import dataclasses

import torch

from sadm.core.conditions import Cond
from sadm.diffusion.denoised import Denoiser


@dataclasses.dataclass(frozen=True)
class Prediction:
    """A denoiser's whole answer.

    Attributes:
        x0_hat: its estimate of x0 [B, C, H, W].
        variance: where between the smaller (0) and the larger (1) log-variance of a reverse step the network puts its own
            [B, C, H, W] in [0, 1] (Nichol & Dhariwal 2021, arXiv 2102.09672, eq. 15); None where it predicts none. It is a
            fraction because the two ends depend on the pair of times that a sampler steps between (see `ddpm`).
    """

    x0_hat: torch.Tensor
    variance: torch.Tensor | None = None


def predict(denoiser: Denoiser, x_t: torch.Tensor, sigma: torch.Tensor, cond: Cond) -> Prediction:
    """The whole answer of any denoiser at noise levels sigma [B]: its own ``predict``, or else its x0_hat alone."""
    if hasattr(denoiser, "predict"):
        return denoiser.predict(x_t, sigma, cond)
    return Prediction(denoiser(x_t, sigma, cond))
