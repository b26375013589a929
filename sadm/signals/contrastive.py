"""Contrastive flow matching for the EDM parameterisation: predictions keep away from the targets of other pairs."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from sadm.core.errors import UserError
from sadm.diffusion import Denoised, EDMDenoiser
from sadm.diffusion.denoised import per_image
from sadm.signals.signal import SignalStep
from sadm.structure import processes_here


class ContrastiveSignal:
    """Subtracts ``weight * mean_i mean_{j != i} |F_i - F_ij|^2`` from the denoising loss.

    Stoica et al. 2025 (arXiv 2506.05350, contrastive flow matching): ``|v(x_t) - v*|^2 - weight |v(x_t) - v~|^2``, with v~ the
    velocity of another pair (image, noise) of the batch at the same time.

    In EDM the network's output F regresses ``F*_i = (x0_i - c_skip x_t,i) / c_out`` with unit weight. With
    ``tan(phi) = sigma / sigma_data`` this is ``F* = sin(phi) x0 / sigma_data - cos(phi) noise``, minus the velocity of the
    variance-preserving path from data to noise: F takes the place of v. The target of pair j at the noise level of image i is
    ``F_ij = (x0_j - c_skip (x0_j + sigma_i noise_j)) / c_out``. A network that gave it would predict
    ``x_ij = c_skip x_t,i + c_out F_ij = c_skip x_t,i + (1 - c_skip) x0_j - c_skip sigma_i noise_j``, and
    ``|F_i - F_ij|^2 = w(sigma_i) |x0_hat_i - x_ij|^2`` with the loss weight w = 1 / c_out^2. Hence, with P elements an image,

        gradient at x0_hat_i = -2 weight w(sigma_i) / (B P) (x0_hat_i - mean_{j != i} x_ij).

    The paper draws one j for each image; the mean over all others has the same expectation, less noise and no random draw.

    The fixed point is *not* the posterior mean m = E[x0 | x_t]. With mu the mean of the data, the minimiser is
    ``m + weight / (1 - weight) (m - [c_skip x_t + (1 - c_skip) mu])``: m pushed away from the estimate of somebody who knows only
    mean and variance of the data, as by guidance against a Gaussian model; at weight 0.05 by one nineteenth of the way. The
    bias is meant, and nothing here takes it back in sampling. From weight 1 on there is no minimum.

    Nothing is balanced: the weight is what defines the objective. Logs ``contrastive``, the mean over images of
    ``w |x0_hat_i - mean_j x_ij|^2 / P`` (the loss but for sign, weight, and a part that no prediction changes).

    Args:
        sigma_data: of the denoiser's preconditioning, > 0.
        weight: in [0, 1); the paper's 0.05.
    """

    def __init__(self, sigma_data: float, weight: float = 0.05) -> None:
        if not 0 <= weight < 1:
            raise UserError(
                f"signal 'contrastive' needs a weight in [0, 1), got {weight}: from 1 on, its loss has no minimum."
            )
        self.coefficients = EDMDenoiser(nn.Identity(), sigma_data).coefficients
        self.weight = weight

    def __call__(self, denoised: Denoised, g_dsm: torch.Tensor) -> SignalStep:
        processes = processes_here()
        batch = processes.part(len(denoised.x0), denoised.x0.device).whole
        if batch < 2:
            raise UserError("signal 'contrastive' is about pairs: the batch holds 1 image. Use a larger batch.")
        dtype = torch.promote_types(denoised.x0_hat.dtype, torch.float32)
        x0, x_t, noise, x0_hat, sigma, w = (
            part.to(dtype)
            for part in (denoised.x0, denoised.x_t, denoised.noise, denoised.x0_hat, denoised.sigma, denoised.weight)
        )
        c_skip = self.coefficients(sigma)[0]
        # Of several processes, each sends one sum of images, not the images.
        others_x0, others_noise = (
            (processes.sum(part.sum(0)) - part) / (batch - 1) for part in (x0, noise)
        )  # [B, C, H, W]
        skip, level = per_image(c_skip, x0), per_image(sigma, x0)  # [B, 1, 1, 1]
        away = x0_hat - (skip * x_t + (1 - skip) * others_x0 - skip * level * others_noise)  # [B, C, H, W]
        scaled = per_image(w, x0) * away / away[0].numel()
        gradient = (-2 * self.weight * processes.count / batch) * scaled
        return SignalStep(gradient.to(g_dsm.dtype), {"contrastive": processes.sum((scaled * away).sum()) / batch})

    def state_dict(self) -> dict[str, Any]:
        """Nothing: this signal has no memory."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""
