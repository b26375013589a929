"""Small discrete worlds, where every expectation is a finite sum, and what the tests of the theory share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import torch
from torch import nn

from sadm.structure import Relation, StructureGame, uniform_weight

D = torch.float64


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=D)


class Encoder(nn.Module):
    """A smooth encoder of points [B, 1, 1, d]."""

    def __init__(self, dimension: int, seed: int) -> None:
        super().__init__()
        self.first = nn.Parameter(normal(seed, dimension, 6))
        self.second = nn.Parameter(normal(seed + 1, 6, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(x.flatten(1) @ self.first + 1) @ self.second


def play_on(
    encoder: nn.Module, ratio: float = 0.5, relation: str | Relation = "cosine", k_max: float = math.inf
) -> StructureGame:
    """The package's game with a frozen encoder, on the whole batch with equal weights."""
    return StructureGame(
        encoder,
        relation=relation,
        penalty="squared",
        adversary="frozen",
        ratio=ratio,
        k_max=k_max,
        fraction=1.0,
        noise_weight=uniform_weight,
        watchdog=None,
    )


def structure_part(
    game: StructureGame, x0: torch.Tensor, x0_hat: torch.Tensor, c: torch.Tensor | float = 1.0
) -> torch.Tensor:
    """s_i [B, d] for the denoising gradient ``c (x0_hat - x0)``, from the one line that a user adds to a loop."""
    leaf = x0_hat.detach()[:, None, None].requires_grad_()  # [B, 1, 1, d]
    loss = (c * (leaf.flatten(1) - x0).square()).sum() / 2
    term = game(loss, x0[:, None, None], leaf, torch.ones(len(x0)))
    return torch.autograd.grad(term, leaf)[0].flatten(1)


class Posteriors:
    """For each of B images, a few possible x0 [K, d] with odds [K]."""

    def __init__(self, seed: int, images: int = 3, choices: int = 2, dimension: int = 2) -> None:
        self.points = 2 * normal(seed, images, choices, dimension)
        self.odds = normal(seed + 1, images, choices).softmax(1)
        self.mean = (self.odds[..., None] * self.points).sum(1)  # [B, d]
        spread = (self.points - self.mean[:, None]).square().sum(-1)
        self.deviation = (self.odds * spread).sum(1).sqrt()  # [B]

    def batches(self) -> Iterator[tuple[float, torch.Tensor]]:
        """Every possible batch x0 [B, d] with its probability."""
        images, choices = self.odds.shape
        for chosen in itertools.product(range(choices), repeat=images):
            probability = math.prod(float(self.odds[i, k]) for i, k in enumerate(chosen))
            yield probability, torch.stack([self.points[i, k] for i, k in enumerate(chosen)])

    def expected(self, of: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """``E of(x0)``."""
        return sum((probability * of(x0) for probability, x0 in self.batches()), torch.zeros((), dtype=D))
