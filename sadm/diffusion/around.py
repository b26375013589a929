"""What denoisers around a denoiser share: one answer to write, for all the ways in which a denoiser is asked."""

from __future__ import annotations

import abc
from collections.abc import Callable

import torch

from sadm.core.conditions import Cond
from sadm.diffusion.denoised import Denoiser
from sadm.diffusion.on_path import path_of, prediction_at, schedule_of
from sadm.diffusion.path_denoiser import over_images
from sadm.diffusion.paths import Level
from sadm.diffusion.prediction import Prediction, predict

Ask = Callable[[torch.Tensor, Cond], Prediction]
"""Asks the denoiser inside, at the level that is at hand."""


class Around(abc.ABC):
    """A denoiser around a denoiser, on the same path. Subclasses say in `answer` what they make of it.

    Args:
        denoiser: the one inside.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser
        self.path, self.schedule = path_of(denoiser), schedule_of(denoiser)

    @abc.abstractmethod
    def answer(self, ask: Ask, z: torch.Tensor, alpha: Level, beta: Level, cond: Cond) -> Prediction:
        """The answer for ``z = alpha x0 + beta noise`` [B, C, H, W]; alpha and beta are numbers, or [B, 1, 1, 1]."""

    def __call__(self, x_t: torch.Tensor, sigma: torch.Tensor, cond: Cond) -> torch.Tensor:
        """The contract."""
        return self.predict(x_t, sigma, cond).x0_hat

    def predict(self, x_t: torch.Tensor, sigma: torch.Tensor, cond: Cond) -> Prediction:
        """As the contract, with the network's variance where it predicts one."""
        return self.answer(
            lambda x, given: predict(self.denoiser, x, sigma, given), x_t, 1.0, over_images(sigma, x_t), cond
        )

    def at(self, z: torch.Tensor, t: Level, cond: Cond) -> torch.Tensor:
        """x0_hat for z [B, C, H, W] at times t of the denoiser's path: one for all images, or [B]."""
        return self.predict_at(z, t, cond).x0_hat

    def predict_at(self, z: torch.Tensor, t: Level, cond: Cond) -> Prediction:
        """As `at`, with the network's variance where it predicts one."""
        alpha, beta = over_images(self.path.alpha(t), z), over_images(self.path.beta(t), z)
        return self.answer(lambda x, given: prediction_at(self.denoiser, self.path, x, t, given), z, alpha, beta, cond)
