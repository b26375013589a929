"""Statement 1: how far the balanced game can move x0_hat from the posterior mean."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from benchmarks.theory.mixtures import Mixture, RandomFeatures, as_images, three_clusters
from sadm.structure import Relation, StructureGame, uniform_weight

RATIOS = (0.1, 0.5, 0.9)


def bound(ratio: float) -> float:
    """``ratio / sqrt(1 - ratio^2)``, in total posterior standard deviations."""
    return ratio / math.sqrt(1 - ratio**2)


def measure() -> dict[str, Any]:
    """All numbers of the statement."""
    return {
        "worst_case": [{"ratio": r, "bound": bound(r), "shift": worst_case(r)} for r in RATIOS],
        "hostile": [{"dimension": d, "bound": bound(0.5), "shift": hostile_field(0.5, d)} for d in (1, 2, 8, 64, 1024)],
        "mixture": [
            {"sigma": sigma, "adversary": adversary, **mixture_shift(sigma, adversary)}
            for sigma in (0.3, 1.0, 3.0, 10.0)
            for adversary in ("frozen", "ascend")
        ],
        "linear_class": [{"ratio": r, "bound": bound(r), **linear_class(r)} for r in RATIOS],
    }


class Bent(nn.Module):
    """Points (u, v) to ``u^2 + v``: what u does to the embedding can be made up for by v alone."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u, v = x.flatten(1).unbind(1)
        return (u.square() + v)[:, None]


def worst_case(ratio: float, spread: float = 4.0) -> float:
    """Shift in posterior standard deviations where the game's pull is the same whatever x0 was.

    Of two images, one has the posterior (+-spread, 0) with equal odds and the other is known. The posterior mean (0, 0) has
    another embedding than both possible x0, and only a move along v, at a right angle to all that is unknown, can mend that.
    """
    game = game_on(Bent(), ratio, "frozen", "euclidean")
    x0_hat = torch.tensor([[0.0, 0.1], [0.0, -1.0]], dtype=torch.float64)
    for _ in range(150):
        fields = []
        for sign in (1, -1):
            x0 = torch.tensor([[sign * spread, 0.0], [0.0, -1.0]], dtype=torch.float64)
            fields.append(field(game, x0, x0_hat))
        x0_hat = x0_hat - 0.3 * torch.stack(fields).mean(0)
    return float(x0_hat[0].norm()) / spread


def hostile_field(ratio: float, dimension: int, count: int = 1024) -> float:
    """Shift under the strongest field that the balance admits, for a round Gaussian posterior of total deviation 1.

    That field has norm ``ratio |x0_hat - x0|`` and always points away from the posterior mean: no encoder can do more.
    """
    draws = torch.Generator().manual_seed(dimension)
    x0 = torch.randn(count, dimension, generator=draws, dtype=torch.float64) / math.sqrt(dimension)
    x0 = torch.cat([x0, -x0])  # mean exactly 0
    x0 = x0 / x0.square().sum(1).mean().sqrt()
    away = torch.zeros(dimension, dtype=torch.float64)
    away[0] = 1.0
    shift = 0.0
    for _ in range(60):
        shift = ratio * float((shift * away - x0).norm(dim=1).mean())
    return shift


def mixture_shift(
    sigma: float, adversary: str, ratio: float = 0.5, points: int = 8, copies: int = 8
) -> dict[str, float]:
    """Shift of a free x0_hat on three clusters, played by the package's game: its largest and mean value over points.

    Each of a few noisy points has an x0_hat of its own and occurs several times in the batch, with fresh draws from its
    posterior in every step.
    """
    mixture, draws = three_clusters(), torch.Generator().manual_seed(0)
    x_t = mixture.sample(points, draws)
    x_t = x_t + sigma * torch.randn(x_t.shape, generator=draws, dtype=x_t.dtype)
    mean, deviation = mixture.posterior_mean(x_t, sigma), mixture.posterior_sd(x_t, sigma)
    game = game_on(RandomFeatures(2, seed=0), ratio, adversary, "cosine")
    x0_hat, average, steps = mean, torch.zeros_like(mean), 120
    for step in range(steps):
        total = posterior_field(game, mixture, x_t, sigma, x0_hat, copies, draws)
        x0_hat = x0_hat - 0.2 * total
        average += x0_hat / (steps // 2) if step >= steps // 2 else 0.0
    shift = (average - mean).norm(dim=1) / deviation
    return {"bound": bound(ratio), "largest": float(shift.max()), "mean": float(shift.mean())}


def posterior_field(
    game: StructureGame,
    mixture: Mixture,
    x_t: torch.Tensor,
    sigma: float,
    x0_hat: torch.Tensor,
    copies: int,
    draws: torch.Generator,
) -> torch.Tensor:
    """The game's field at x0_hat [N, d], averaged over draws of x0 from the posterior."""
    x0 = mixture.posterior_sample(x_t.repeat_interleave(copies, 0), sigma, draws)
    total = field(game, x0, x0_hat.repeat_interleave(copies, 0))
    return total.reshape(len(x_t), copies, -1).mean(1)


def linear_class(ratio: float, count: int = 192) -> dict[str, float]:
    """A denoiser that is linear in its weights and can't reach the posterior mean: shift in the mean square, and loss.

    Noise levels and loss weights differ from image to image. The shift is from the best of the class, in units of that one's
    root mean square error; `loss` is the loss at rest over the least loss of the class.
    """
    draws = torch.Generator().manual_seed(3)
    x0 = three_clusters().sample(count, draws)
    sigma = torch.rand(count, 1, generator=draws, dtype=x0.dtype) * 3 + 0.1
    x_t = (x0 + sigma * torch.randn(x0.shape, generator=draws, dtype=x0.dtype)) / (1 + sigma)
    features = torch.cat([x_t, x_t.square(), torch.ones_like(x_t[:, :1])], dim=1)  # [N, 5]
    weight = 1 + 1 / sigma  # [N, 1]
    gram = features.T @ (weight * features)
    best = features @ torch.linalg.solve(gram, features.T @ (weight * x0))
    game = game_on(RandomFeatures(2, seed=1), ratio, "frozen", "euclidean")
    theta = torch.linalg.solve(gram, features.T @ (weight * x0))
    for _ in range(300):
        total = field(game, x0, features @ theta, weight)
        theta = theta - 0.2 * torch.linalg.solve(gram, features.T @ total)
    x0_hat = features @ theta

    def size(v: torch.Tensor) -> float:
        return float((weight * v.square()).sum().sqrt())

    return {
        "shift": size(x0_hat - best) / size(x0 - best),
        "loss": (size(x0 - x0_hat) / size(x0 - best)) ** 2,
        "loss_bound": 1 / (1 - ratio**2),
    }


def game_on(
    encoder: nn.Module, ratio: float, adversary: str, relation: str | Relation, k_max: float = math.inf
) -> StructureGame:
    """The package's game on all images of the batch, with equal weights."""
    return StructureGame(
        encoder,
        relation=relation,
        penalty="squared",
        adversary=adversary,
        learning_rate=1e-2,
        ratio=ratio,
        k_max=k_max,
        fraction=1.0,
        noise_weight=uniform_weight,
        watchdog=None,
    )


def field(
    game: StructureGame, x0: torch.Tensor, x0_hat: torch.Tensor, weight: torch.Tensor | float = 1.0
) -> torch.Tensor:
    """Denoising gradient ``weight (x0_hat - x0)`` plus the balanced structure gradient [N, d]: what a user's loop descends."""
    leaf = as_images(x0_hat.detach()).requires_grad_()
    loss = (weight * (leaf.flatten(1) - x0).square()).sum() / 2
    loss = loss + game(loss, as_images(x0), leaf, torch.ones(len(x0)))
    return torch.autograd.grad(loss, leaf)[0].flatten(1)
