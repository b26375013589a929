"""Statement 3: paired structure at high noise, and what a denoiser that follows it samples. On three clusters in the plane."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.theory.bound import field, game_on
from benchmarks.theory.mixtures import Mixture, three_clusters
from sadm.diffusion import karras_sigmas
from sadm.structure import RELATIONS, structure_gap

SIGMAS = (0.1, 0.3, 1.0, 2.0, 4.0, 16.0, 64.0)
STEPS = (1, 2, 3, 5, 9, 17, 33, 65)
LOWEST, HIGHEST = 0.02, 40.0
DATA_SD = 1.9  # of three_clusters, about; scales the features below
Denoise = Callable[[torch.Tensor, float], torch.Tensor]
"""``(x_t [N, 2], sigma) -> x0_hat [N, 2]``."""


def measure() -> dict[str, Any]:
    """All numbers of the statement."""
    return {"gaps": [gaps_at(sigma) for sigma in SIGMAS], "sampling": sampling()}


def gaps_at(sigma: float, count: int = 1000, posterior_draws: int = 100) -> dict[str, float]:
    """The gap of the perfect denoiser, of one draw from the posterior, and the least that any denoiser can reach.

    Embeddings are the points themselves. The least is known for cosines: with m_i the posterior mean of the direction of x0_i,
    the mean of (cos(x0_i, x0_j) - <m_i, m_j>)^2.
    """
    mixture, draws = three_clusters(), torch.Generator().manual_seed(0)
    x0 = mixture.sample(count, draws)
    x_t = x0 + sigma * torch.randn(x0.shape, generator=draws, dtype=x0.dtype)
    estimates = {"mean": mixture.posterior_mean(x_t, sigma), "draw": mixture.posterior_sample(x_t, sigma, draws)}
    row = {"sigma": sigma}
    for relation in ("cosine", "euclidean"):
        for name, x0_hat in estimates.items():
            row[f"{relation}_{name}"] = float(structure_gap(*RELATIONS[relation](x0, x0_hat)))
    # The product of two independent estimates' errors: the square of one would add the estimate's own variance.
    real, errors = RELATIONS["cosine"](x0, x0)[0], []
    for _ in range(2):
        direction = torch.zeros_like(x0)
        for _ in range(posterior_draws):
            direction += F.normalize(mixture.posterior_sample(x_t, sigma, draws), dim=1) / posterior_draws
        errors.append(real - direction @ direction.T)
    row["cosine_least"] = float((errors[0] * errors[1])[~torch.eye(count, dtype=torch.bool)].mean())
    return row


def sampling(ratio: float = 0.5, count: int = 4000) -> dict[str, Any]:
    """Distance of Euler samples from data: of the perfect denoiser, and of those that the game has moved."""
    mixture = three_clusters()
    denoisers: dict[str, Denoise] = {"perfect": mixture.posterior_mean}
    shifts = []
    for relation in ("cosine", "euclidean"):
        moved = Moved(mixture, relation, ratio)
        denoisers |= {relation: moved, f"{relation}_above_4": only_above(4.0, moved, mixture.posterior_mean)}
        shifts += [
            {"relation": relation, "sigma": sigma, "shift": moved.shift(sigma)} for sigma in (0.1, 1.0, 4.0, 16.0)
        ]
    real, again = (mixture.sample(count, torch.Generator().manual_seed(seed)) for seed in (1, 2))
    rows = []
    for steps in STEPS:
        samples = {name: euler(denoiser, count, steps) for name, denoiser in denoisers.items()}
        rows.append({"steps": steps, **{name: sliced_distance(x, real) for name, x in samples.items()}})
    return {"ratio": ratio, "floor": sliced_distance(again, real), "shifts": shifts, "rows": rows}


def only_above(level: float, high: Denoise, low: Denoise) -> Denoise:
    """One denoiser at noise levels from `level` on, another below."""
    return lambda x_t, sigma: (high if sigma >= level else low)(x_t, sigma)


class Moved:
    """The perfect denoiser plus what the game adds to it: a smooth function of x_t, found level by level.

    At each of a few noise levels, smooth features times weights are added to the posterior mean and follow the balanced field of
    the package's game, with the points themselves as embeddings, until they rest. Between levels the weights are interpolated.
    """

    def __init__(self, mixture: Mixture, relation: str, ratio: float, levels: int = 16) -> None:
        self.mixture = mixture
        self.levels = torch.logspace(math.log10(LOWEST), math.log10(HIGHEST), levels, dtype=torch.float64)
        side = torch.linspace(-2.2, 2.2, 6, dtype=torch.float64)
        self.centres = torch.cartesian_prod(side, side)  # [36, 2]
        game = game_on(nn.Flatten(), ratio, "frozen", relation)
        self.weights = torch.stack([self._rest(game, float(sigma)) for sigma in self.levels])  # [L, 39, 2]

    def __call__(self, x_t: torch.Tensor, sigma: float) -> torch.Tensor:
        place = math.log(sigma / LOWEST) / math.log(HIGHEST / LOWEST) * (len(self.levels) - 1)
        below = min(max(int(place), 0), len(self.levels) - 2)
        weights = torch.lerp(self.weights[below], self.weights[below + 1], place - below)
        return self.mixture.posterior_mean(x_t, sigma) + self._features(x_t, sigma) @ weights

    def shift(self, sigma: float, count: int = 1000) -> float:
        """Root mean square distance from the posterior mean over the root mean square posterior deviation."""
        draws = torch.Generator().manual_seed(5)
        x_t = self._noisy(self.mixture.sample(count, draws), sigma, draws)
        moved = (self(x_t, sigma) - self.mixture.posterior_mean(x_t, sigma)).square().sum(1).mean()
        return float((moved / self.mixture.posterior_sd(x_t, sigma).square().mean()).sqrt())

    def _rest(self, game: Any, sigma: float, batch: int = 160, steps: int = 40) -> torch.Tensor:
        draws = torch.Generator().manual_seed(0)
        weights = average = torch.zeros(len(self.centres) + 3, 2, dtype=torch.float64)
        for step in range(steps):
            x0 = self.mixture.sample(batch, draws)
            x_t = self._noisy(x0, sigma, draws)
            features, mean = self._features(x_t, sigma), self.mixture.posterior_mean(x_t, sigma)
            x0_hat = mean + features @ weights
            # The denoising part is known without the noise of x0 around its posterior mean.
            total = field(game, x0, x0_hat) - (mean - x0)
            gram = features.T @ features + 1e-3 * batch * torch.eye(features.shape[1], dtype=features.dtype)
            weights = weights - 0.3 * torch.linalg.solve(gram, features.T @ total)
            average = average + weights / (steps // 2) if step >= steps // 2 else average
        return average

    def _features(self, x_t: torch.Tensor, sigma: float) -> torch.Tensor:
        z = 1.4 * x_t / math.hypot(DATA_SD, sigma)
        bumps = (-(z[:, None] - self.centres).square().sum(-1) / 0.8).exp()
        return torch.cat([bumps, z, torch.ones_like(z[:, :1])], dim=1)  # [N, 39]

    @staticmethod
    def _noisy(x0: torch.Tensor, sigma: float, draws: torch.Generator) -> torch.Tensor:
        return x0 + sigma * torch.randn(x0.shape, generator=draws, dtype=x0.dtype)


def euler(denoise: Denoise, count: int, steps: int) -> torch.Tensor:
    """Samples [count, 2] of the probability-flow ODE in `steps` Euler steps from the highest noise level to 0."""
    x = HIGHEST * torch.randn(count, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    grid = karras_sigmas(steps, LOWEST, HIGHEST).tolist()
    for here, there in pairwise(grid):
        x0_hat = denoise(x, here)
        x = x0_hat + there / here * (x - x0_hat)
    return x


def sliced_distance(x: torch.Tensor, y: torch.Tensor, directions: int = 64) -> float:
    """Sliced 1-Wasserstein distance between two sets of as many points of the plane."""
    angle = torch.arange(directions, dtype=x.dtype) * math.pi / directions
    lines = torch.stack([angle.cos(), angle.sin()])  # [2, directions]
    return float(((x @ lines).sort(0).values - (y @ lines).sort(0).values).abs().mean())
