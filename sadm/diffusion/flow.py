"""Flow matching on straight lines (rectified flow, SiT, JiT), behind the contract."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import nn

from sadm.core.conditions import Cond
from sadm.diffusion.denoised import check_levels
from sadm.diffusion.path_denoiser import PathDenoiser, one_each, over_images
from sadm.diffusion.paths import Level, StraightLine
from sadm.diffusion.prediction import Prediction
from sadm.diffusion.weightings import VelocityWeighting

FlowTarget = Literal["v", "x0"]


class FlowDenoiser(PathDenoiser):
    """A network trained with ``z = (1 - t) x0 + t noise``, behind the contract.

    The network is given z and t and predicts one of

    - v = noise - x0, the velocity dz/dt: ``x0_hat = z - t v`` (arXiv 2209.03003, arXiv 2210.02747);
    - x0 itself (JiT, arXiv 2511.13720).

    Args:
        net: called as ``net(z [B, C, H, W], t [B], cond)``.
        prediction: 'v' or 'x0'.
        reversed_time: the network counts time from noise to data, as SiT (arXiv 2401.08740) and JiT do: it is given 1 - t, and
            if it predicts a velocity, that is along its own time, x0 - noise. One option, since both follow from the direction.

    Raises:
        ValueError: an unknown prediction; on use, an output of unexpected shape.
    """

    def __init__(self, net: nn.Module, prediction: FlowTarget = "v", reversed_time: bool = False) -> None:
        super().__init__(net, StraightLine())
        if prediction not in get_args(FlowTarget):
            raise ValueError(f"unknown prediction {prediction!r}; expected one of {', '.join(get_args(FlowTarget))}")
        self.prediction = prediction
        self.reversed_time = reversed_time

    def predict(self, x_t: torch.Tensor, sigma: torch.Tensor, cond: Cond) -> Prediction:
        """The contract, at noise levels sigma [B], finite and > 0; others are a ValueError (on the CPU)."""
        check_levels(sigma, 0.0, math.inf, "noise levels sigma")
        return super().predict(x_t, sigma, cond)

    def predict_at(self, z: torch.Tensor, t: Level, cond: Cond) -> Prediction:
        """As `PathDenoiser.at`, at times t in [0, 1]; others are a ValueError (on the CPU)."""
        check_levels(t, 0.0, self.path.end, "times", open_low=False)
        return super().predict_at(z, t, cond)

    def estimate(self, z: torch.Tensor, sigma: Level, cond: Cond) -> Prediction:
        """See `PathDenoiser.estimate`."""
        t = self.path.time(sigma)
        output = self.net(z, one_each(self.path.alpha_of(sigma) if self.reversed_time else t, z), cond)  # [B, C, H, W]
        if output.shape != z.shape:
            raise ValueError(f"expected the network to return {tuple(z.shape)}, got {tuple(output.shape)}")
        if self.prediction == "x0":
            return Prediction(output)
        along = over_images(t, z) * output  # [B, C, H, W]
        return Prediction(z + along if self.reversed_time else z - along)

    def loss_weight(self, sigma: torch.Tensor) -> torch.Tensor:
        """What mean squares on the velocity come to: 1/t^2; for x0-prediction with t at least 0.05, as JiT bounds it."""
        return VelocityWeighting(0.05 if self.prediction == "x0" else 0.0)(sigma)
