"""Networks and denoisers that several of these tests ask."""

from __future__ import annotations

import torch
from torch import nn

from sadm.core.conditions import Cond
from sadm.diffusion import Path, Prediction

SHAPE = (3, 2, 4, 6)  # B, C, H, W, all different


def normal(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*(shape or SHAPE), generator=torch.Generator().manual_seed(seed), dtype=dtype)


def as_images(values: torch.Tensor) -> torch.Tensor:
    return values[:, None, None, None]


class Net(nn.Module):
    """Fixed, random, nonlinear in the image and in the level; float64. Remembers its last input and level."""

    def __init__(self, outputs: int = 2, scale: float = 100.0) -> None:
        super().__init__()
        self.scale = scale
        self.first = 0.4 * normal(1, 8, 2, 3, 3)
        self.last = 0.4 * normal(2, outputs, 8, 3, 3)
        self.phase = normal(3, 8)
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def forward(self, x: torch.Tensor, c_noise: torch.Tensor, cond: Cond) -> torch.Tensor:
        self.seen.append((x, c_noise))
        assert c_noise.shape == (len(x),)
        shift = torch.sin(c_noise.double() / self.scale)[:, None, None, None] * self.phase[None, :, None, None]
        hidden = torch.tanh(nn.functional.conv2d(x.double(), self.first, padding=1) + shift)  # [B, 8, H, W]
        return torch.tanh(nn.functional.conv2d(hidden, self.last, padding=1)).to(x.dtype)


class Constant(nn.Module):
    """A network that answers with fixed numbers, whatever it is asked."""

    def __init__(self, answer: torch.Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: torch.Tensor, c_noise: torch.Tensor, cond: Cond) -> torch.Tensor:
        self.seen = x, c_noise
        return self.answer


class GaussianOnPath:
    """The posterior mean for data N(mean, spread^2 I), in a path's own coordinates; counts its calls."""

    def __init__(self, path: Path, mean: float = 0.3, spread: float = 0.5) -> None:
        self.path, self.mean, self.spread = path, mean, spread
        self.times: list[float] = []

    def __call__(self, x_t: torch.Tensor, sigma: torch.Tensor, cond: Cond) -> torch.Tensor:
        s = as_images(sigma)
        return (self.spread**2 * x_t + s**2 * self.mean) / (self.spread**2 + s**2)

    def at(self, z: torch.Tensor, t: float, cond: Cond) -> torch.Tensor:
        self.times.append(t)
        a, b = self.path.alpha(t), self.path.beta(t)
        return (a * self.spread**2 * z + b**2 * self.mean) / (a**2 * self.spread**2 + b**2)

    def predict_at(self, z: torch.Tensor, t: float, cond: Cond) -> Prediction:
        return Prediction(self.at(z, t, cond))


class CorrelatedOnPath:
    """The posterior mean for images that are Gaussian with any mean and covariance, in a path's own coordinates.

    Args:
        path: the path.
        mean: [C, H, W].
        covariance: [C H W, C H W].
    """

    def __init__(self, path: Path, mean: torch.Tensor, covariance: torch.Tensor) -> None:
        self.path, self.mean, self.covariance = path, mean, covariance
        self.asked = 0

    def __call__(self, x_t: torch.Tensor, sigma: torch.Tensor, cond: Cond) -> torch.Tensor:
        return self._posterior_mean(x_t, 1.0, float(sigma[0]))

    def at(self, z: torch.Tensor, t: float, cond: Cond) -> torch.Tensor:
        return self._posterior_mean(z, self.path.alpha(t), self.path.beta(t))

    def predict_at(self, z: torch.Tensor, t: float, cond: Cond) -> Prediction:
        return Prediction(self.at(z, t, cond))

    def _posterior_mean(self, z: torch.Tensor, a: float, b: float) -> torch.Tensor:
        self.asked += 1
        of_z = a**2 * self.covariance + b**2 * torch.eye(len(self.covariance), dtype=z.dtype)
        gain = a * self.covariance @ torch.linalg.inv(of_z)
        return self.mean + ((z - a * self.mean).flatten(1) @ gain.T).view_as(z)


def smooth_covariance(pixels: int, variance: float = 0.36, length: float = 4.0) -> torch.Tensor:
    """Pixels in a row whose correlation falls with their distance [pixels, pixels]."""
    place = torch.arange(pixels, dtype=torch.float64)
    return variance * torch.exp(-(place[:, None] - place[None]).abs() / length)
