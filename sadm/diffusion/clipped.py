"""A denoiser whose answers stay where images are."""

from __future__ import annotations

import dataclasses

import torch

from sadm.core.conditions import Cond
from sadm.diffusion.denoised import Denoiser
from sadm.diffusion.on_path import path_of, prediction_at, schedule_of
from sadm.diffusion.paths import Level
from sadm.diffusion.prediction import Prediction, predict


class Clipped:
    """A denoiser around a denoiser, with x0_hat brought into [-1, 1] (as in Ho et al. 2020, arXiv 2006.11239).

    Samplers take the noise from x_t and the clipped x0_hat, so that the two still make up x_t.

    Args:
        denoiser: of images in [-1, 1].
    """

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser
        self.path, self.schedule = path_of(denoiser), schedule_of(denoiser)

    def __call__(self, x_t: torch.Tensor, sigma: torch.Tensor, cond: Cond) -> torch.Tensor:
        """The contract."""
        return self.denoiser(x_t, sigma, cond).clamp(-1, 1)

    def predict(self, x_t: torch.Tensor, sigma: torch.Tensor, cond: Cond) -> Prediction:
        """As the contract, with the network's variance where it predicts one."""
        return _clipped(predict(self.denoiser, x_t, sigma, cond))

    def at(self, z: torch.Tensor, t: Level, cond: Cond) -> torch.Tensor:
        """x0_hat for z [B, C, H, W] at times t of the denoiser's path: one for all images, or [B]."""
        return self.predict_at(z, t, cond).x0_hat

    def predict_at(self, z: torch.Tensor, t: Level, cond: Cond) -> Prediction:
        """As `at`, with the network's variance where it predicts one."""
        return _clipped(prediction_at(self.denoiser, self.path, z, t, cond))


def _clipped(prediction: Prediction) -> Prediction:
    return dataclasses.replace(prediction, x0_hat=prediction.x0_hat.clamp(-1, 1))
