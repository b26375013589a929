"""A denoiser of what lies between an image and a picture of it that is known."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from sadm.core.conditions import Cond
from sadm.diffusion.around import Around, Ask
from sadm.diffusion.edm import EDMDenoiser
from sadm.diffusion.path_denoiser import PathDenoiser
from sadm.diffusion.paths import Level
from sadm.diffusion.prediction import Prediction


class Centred(Around, nn.Module):
    """A denoiser around one that sees, and estimates, ``x0 - y``, where y is told in `Cond.image`.

    The processes' preconditioning takes images to lie around 0. Where a damaged image y is known, the sound one lies around that.
    A network of zeros then answers with y where there is nothing but noise, instead of with grey, and has to learn the damage
    alone. Where y is all zeros, which means "not known", nothing changes.

    Args:
        denoiser: of the network.
        channels: y is the last so many channels of `Cond.image`.
    """

    denoiser: EDMDenoiser | PathDenoiser

    def __init__(self, denoiser: EDMDenoiser | PathDenoiser, channels: int) -> None:
        nn.Module.__init__(self)
        Around.__init__(self, denoiser)
        self.channels = channels

    @property
    def net(self) -> nn.Module:
        """The raw network."""
        return self.denoiser.net

    def answer(self, ask: Ask, z: torch.Tensor, alpha: Level, beta: Level, cond: Cond) -> Prediction:
        """The inner denoiser's answer for what differs from y, and y."""
        if cond.image is None:
            return ask(z, cond)
        y = cond.image[:, -self.channels :].to(z.dtype)  # [B, C, H, W]
        prediction = ask(z - alpha * y, cond)
        return dataclasses.replace(prediction, x0_hat=prediction.x0_hat + y)

    def loss_weight(self, sigma: torch.Tensor) -> torch.Tensor:
        """That of the process at noise levels sigma [B]: an error of ``x0 - y`` is one of x0."""
        return self.denoiser.loss_weight(sigma)
