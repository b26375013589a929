"""What VP and flow denoisers share: a network that lives on a path, behind the denoiser's contract."""

from __future__ import annotations

import abc
import math

import torch
from torch import nn

from sadm.core.conditions import Cond
from sadm.core.recording import is_recorded
from sadm.diffusion.denoised import per_image
from sadm.diffusion.paths import Level, Path
from sadm.diffusion.prediction import Prediction


def over_images(values: Level, like: torch.Tensor) -> Level:
    """A float as it is; a tensor [B] shaped to broadcast over the images of `like`."""
    return per_image(values, like) if isinstance(values, torch.Tensor) else values


def one_each(values: Level, like: torch.Tensor) -> torch.Tensor:
    """A value for each image of `like`, [B], as networks take them: at least float32, or timestep 999 would be 1000 in bf16."""
    if isinstance(values, torch.Tensor):
        return values
    return like.new_full((like.shape[0],), values, dtype=torch.promote_types(like.dtype, torch.float32))


def is_infinite(sigma: Level) -> bool:
    """Whether any of the noise levels is known to be inf; of a tensor whose use is being recorded, none is."""
    if isinstance(sigma, torch.Tensor):
        return not is_recorded() and bool(torch.isinf(sigma).any())
    return math.isinf(sigma)


class PathDenoiser(nn.Module, abc.ABC):
    """A network on a path. Subclasses say in `estimate` what it is given and what it predicts.

    Args:
        net: the raw network, called as ``net(z [B, C, H, W], c_noise [B], cond)``.
        path: in whose coordinates the network lives.
    """

    def __init__(self, net: nn.Module, path: Path) -> None:
        super().__init__()
        self.net = net
        self.path = path

    @abc.abstractmethod
    def estimate(self, z: torch.Tensor, sigma: Level, cond: Cond) -> Prediction:
        """The network's answer for z [B, C, H, W] on the path, at noise levels sigma in (0, inf]: one for all, or [B]."""

    @abc.abstractmethod
    def loss_weight(self, sigma: torch.Tensor) -> torch.Tensor:
        """The process's customary weight of the squared x0 error at noise levels sigma [B]."""

    def forward(self, x_t: torch.Tensor, sigma: torch.Tensor, cond: Cond) -> torch.Tensor:
        """The contract: x0_hat for ``x_t = x0 + sigma * noise`` at noise levels sigma [B], finite and > 0."""
        return self.predict(x_t, sigma, cond).x0_hat

    def predict(self, x_t: torch.Tensor, sigma: torch.Tensor, cond: Cond) -> Prediction:
        """As the contract, with the network's variance where it predicts one."""
        return self.estimate(per_image(self.path.alpha_of(sigma), x_t) * x_t, sigma, cond)

    def at(self, z: torch.Tensor, t: Level, cond: Cond) -> torch.Tensor:
        """x0_hat for ``z = alpha(t) x0 + beta(t) noise`` at times t of the path, its end (sigma = inf) included.

        t is one time for all images, a float, so that coefficients are computed in float64; or one for each, [B].

        Raises:
            ValueError: eps-prediction at alpha = 0, where z holds nothing of x0 that could be solved for.
        """
        return self.predict_at(z, t, cond).x0_hat

    def predict_at(self, z: torch.Tensor, t: Level, cond: Cond) -> Prediction:
        """As `at`, with the network's variance where it predicts one."""
        return self.estimate(z, self.path.sigma(t), cond)
