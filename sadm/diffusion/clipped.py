"""A denoiser whose answers stay where images are."""

from __future__ import annotations

import dataclasses

import torch

from sadm.core.conditions import Cond
from sadm.diffusion.around import Around, Ask
from sadm.diffusion.paths import Level
from sadm.diffusion.prediction import Prediction


class Clipped(Around):
    """A denoiser around one of images in [-1, 1], with x0_hat brought into that range (as in Ho et al. 2020, arXiv 2006.11239).

    Samplers take the noise from x_t and the clipped x0_hat, so that the two still make up x_t.
    """

    def answer(self, ask: Ask, z: torch.Tensor, alpha: Level, beta: Level, cond: Cond) -> Prediction:
        """The denoiser's own, clipped."""
        prediction = ask(z, cond)
        return dataclasses.replace(prediction, x0_hat=prediction.x0_hat.clamp(-1, 1))
