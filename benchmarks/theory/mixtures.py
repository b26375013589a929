"""Gaussian mixtures: data whose posterior given a noisy image is known in closed form."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Equally wide round Gaussians; noisy points are ``x_t = x0 + sigma * noise``.

    Attributes:
        means: of the components [K, d], float64.
        weights: of the components [K], summing to 1.
        spread: standard deviation of every component in every direction, >= 0.
    """

    means: torch.Tensor
    weights: torch.Tensor
    spread: float

    def sample(self, count: int, draws: torch.Generator) -> torch.Tensor:
        """Clean points [count, d]."""
        chosen = torch.multinomial(self.weights, count, replacement=True, generator=draws)
        return self.means[chosen] + self.spread * self._normal(count, draws)

    def posterior_mean(self, x_t: torch.Tensor, sigma: float) -> torch.Tensor:
        """``E[x0 | x_t]`` [N, d] for noisy points [N, d]."""
        return (self._responsibility(x_t, sigma)[..., None] * self._centres(x_t, sigma)).sum(1)

    def posterior_sd(self, x_t: torch.Tensor, sigma: float) -> torch.Tensor:
        """The root of the trace of ``Cov[x0 | x_t]`` [N]: the total posterior standard deviation."""
        centres = self._centres(x_t, sigma)  # [N, K, d]
        between = (centres - self.posterior_mean(x_t, sigma)[:, None]).square().sum(-1)  # [N, K]
        within = self.means.shape[1] * self._width(sigma) ** 2
        return ((self._responsibility(x_t, sigma) * between).sum(1) + within).sqrt()

    def posterior_sample(self, x_t: torch.Tensor, sigma: float, draws: torch.Generator) -> torch.Tensor:
        """One draw of ``x0 | x_t`` [N, d] for each noisy point."""
        chosen = torch.multinomial(self._responsibility(x_t, sigma), 1, generator=draws)  # [N, 1]
        centres = self._centres(x_t, sigma)[torch.arange(len(x_t)), chosen[:, 0]]  # [N, d]
        return centres + self._width(sigma) * self._normal(len(x_t), draws)

    def _responsibility(self, x_t: torch.Tensor, sigma: float) -> torch.Tensor:
        distance = (x_t[:, None] - self.means).square().sum(-1)  # [N, K]
        return (self.weights.log() - distance / (2 * (self.spread**2 + sigma**2))).softmax(1)

    def _centres(self, x_t: torch.Tensor, sigma: float) -> torch.Tensor:
        keep = self.spread**2 / (self.spread**2 + sigma**2)
        return self.means + keep * (x_t[:, None] - self.means)  # [N, K, d]

    def _width(self, sigma: float) -> float:
        return self.spread * sigma / (self.spread**2 + sigma**2) ** 0.5

    def _normal(self, count: int, draws: torch.Generator) -> torch.Tensor:
        return torch.randn(count, self.means.shape[1], generator=draws, dtype=self.means.dtype)


def three_clusters() -> Mixture:
    """The plane's example: unequal clusters, away from the origin, so that cosines have something to say."""
    means = torch.tensor([[2.0, 0.0], [-1.0, 1.5], [-1.0, -1.5]], dtype=torch.float64)
    return Mixture(means, torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), 0.3)


def as_images(x: torch.Tensor) -> torch.Tensor:
    """Points [N, d] as images of one row [N, 1, 1, d], which is what the game plays on."""
    return x[:, None, None]


class RandomFeatures(nn.Module):
    """A smooth random encoder of points: [N, 1, 1, d] to [N, length]."""

    def __init__(self, dimension: int, seed: int, length: int = 4, width: int = 16) -> None:
        super().__init__()
        draws = torch.Generator().manual_seed(seed)
        shapes = (dimension, width), (width,), (width, length)
        numbers = (torch.randn(shape, generator=draws, dtype=torch.float64) for shape in shapes)
        self.first, self.shift, self.second = (nn.Parameter(values) for values in numbers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x.flatten(1) @ self.first + self.shift) @ self.second
