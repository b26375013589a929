"""The EDM process: preconditioning and loss weight (Karras et al. 2022, arXiv 2206.00364, table 1)."""

from __future__ import annotations

import math

import torch
from torch import nn

from sadm.core.conditions import Cond
from sadm.diffusion.denoised import check_levels, per_image
from sadm.diffusion.path_denoiser import one_each
from sadm.diffusion.paths import Level, VarianceExploding
from sadm.diffusion.prediction import Prediction
from sadm.diffusion.weightings import EDMWeighting


class EDMDenoiser(nn.Module):
    """``x0_hat = c_skip(sigma) x_t + c_out(sigma) net(c_in(sigma) x_t, c_noise(sigma), cond)`` (eq. 7).

    Args:
        net: the raw network F, called as ``net(x [B, C, H, W], c_noise [B], cond)`` and returning [B, C, H, W].
        sigma_data: standard deviation of the data, > 0.
    """

    def __init__(self, net: nn.Module, sigma_data: float = 0.5) -> None:
        super().__init__()
        if not sigma_data > 0:
            raise ValueError(f"sigma_data must be positive, got {sigma_data}")
        self.net = net
        self.path = VarianceExploding()
        self.sigma_data = float(sigma_data)

    def coefficients(self, sigma: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """c_skip, c_out, c_in, c_noise for noise levels sigma [B]; each [B] (table 1)."""
        variance = sigma.square() + self.sigma_data**2
        c_skip = self.sigma_data**2 / variance
        c_out = sigma * self.sigma_data * variance.rsqrt()
        c_in = variance.rsqrt()
        c_noise = sigma.log() / 4
        return c_skip, c_out, c_in, c_noise

    def forward(self, x_t: torch.Tensor, sigma: torch.Tensor, cond: Cond) -> torch.Tensor:
        """The contract, at noise levels sigma [B], finite and > 0; others are a ValueError (on the CPU)."""
        check_levels(sigma, 0.0, math.inf, "noise levels sigma")
        c_skip, c_out, c_in, c_noise = self.coefficients(sigma)
        output = self.net(per_image(c_in, x_t) * x_t, c_noise, cond)  # [B, C, H, W]
        return per_image(c_skip, x_t) * x_t + per_image(c_out, x_t) * output

    def at(self, z: torch.Tensor, t: Level, cond: Cond) -> torch.Tensor:
        """The same on the variance-exploding path, whose z is x_t and whose time is sigma: one for all images, or [B]."""
        return self(z, one_each(t, z), cond)

    def predict(self, x_t: torch.Tensor, sigma: torch.Tensor, cond: Cond) -> Prediction:
        """As the contract; EDM networks predict no variance."""
        return Prediction(self(x_t, sigma, cond))

    def predict_at(self, z: torch.Tensor, t: Level, cond: Cond) -> Prediction:
        """As `at`; EDM networks predict no variance."""
        return Prediction(self.at(z, t, cond))

    def loss_weight(self, sigma: torch.Tensor) -> torch.Tensor:
        """``(sigma^2 + sigma_data^2) / (sigma sigma_data)^2`` [B]: the network's own target gets unit weight (eq. 8)."""
        return EDMWeighting(self.sigma_data)(sigma)
