"""The structure game written a second time, with plain loops over images and pairs; slow, and easy to check by eye."""

from __future__ import annotations

import math
import statistics

import torch
from torch import nn


def images(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


class SmallEncoder(nn.Module):
    """A smooth encoder whose embeddings depend on every pixel; counts its calls."""

    def __init__(self, pixels: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.first = nn.Linear(pixels, 7, dtype=dtype)
        self.second = nn.Linear(7, 5, dtype=dtype)
        self.calls = 0
        for number, parameter in enumerate(self.parameters()):
            parameter.data = images(1000 * seed + number, *parameter.shape, dtype=dtype) * 0.5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.second(torch.tanh(self.first(x.flatten(1))))


def naive_cosine(e: torch.Tensor) -> list[list[torch.Tensor]]:
    def similarity(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return sum(x * y for x, y in zip(a, b, strict=True)) / (
            sum(x * x for x in a).sqrt() * sum(y * y for y in b).sqrt()
        )

    return [[similarity(a, b) for b in e] for a in e]


def naive_euclidean(e: torch.Tensor, e_hat: torch.Tensor) -> tuple[list[list[torch.Tensor]], list[list[torch.Tensor]]]:
    def distances(points: torch.Tensor) -> list[list[torch.Tensor]]:
        zero = points.new_zeros(())
        return [
            [
                zero if i == j else sum((x - y) ** 2 for x, y in zip(a, b, strict=True)).sqrt()
                for j, b in enumerate(points)
            ]
            for i, a in enumerate(points)
        ]

    real, denoised = distances(e), distances(e_hat)
    pairs = [row[j] for matrix in (real, denoised) for i, row in enumerate(matrix) for j in range(len(row)) if i != j]
    mean = sum(pairs) / len(pairs)
    return [[d / mean for d in row] for row in real], [[d / mean for d in row] for row in denoised]


def naive_relations(
    name: str, e: torch.Tensor, e_hat: torch.Tensor
) -> tuple[list[list[torch.Tensor]], list[list[torch.Tensor]]]:
    return (naive_cosine(e), naive_cosine(e_hat)) if name == "cosine" else naive_euclidean(e, e_hat)


def naive_penalty(difference: torch.Tensor, penalty: str) -> torch.Tensor:
    if penalty == "squared":
        return difference**2
    size = difference.abs()
    return 0.5 * size**2 if float(size.detach()) <= 0.1 else 0.1 * (size - 0.05)


def naive_gap(
    relation: list[list[torch.Tensor]] | torch.Tensor,
    relation_hat: list[list[torch.Tensor]] | torch.Tensor,
    weight: list[float] | None = None,
    penalty: str = "squared",
) -> torch.Tensor:
    weights = [1.0] * len(relation) if weight is None else weight
    cost, total = 0.0, 0.0
    for i in range(len(relation)):
        for j in range(len(relation)):
            if i != j:
                pair = math.sqrt(weights[i] * weights[j])
                cost = cost + pair * naive_penalty(relation[i][j] - relation_hat[i][j], penalty)
                total += pair
    return cost / total if total else torch.zeros((), dtype=torch.float64)


def naive_balance(
    g_dsm: torch.Tensor, g_gap: torch.Tensor, ratio: float | list[float], k_max: float = math.inf
) -> list[float]:
    size_dsm = [math.sqrt(sum(float(v) ** 2 for v in g.flatten())) for g in g_dsm]
    size_gap = [math.sqrt(sum(float(v) ** 2 for v in g.flatten())) for g in g_gap]
    ratios = [ratio] * len(size_dsm) if isinstance(ratio, float) else ratio
    eps = 1e-3 * statistics.median_low(size_gap)
    return [min(k_max, r * a / (b + eps)) if b > 0 else 0.0 for r, a, b in zip(ratios, size_dsm, size_gap, strict=True)]


def naive_noisiest(sigma: list[float], fraction: float) -> list[int]:
    """For levels without ties."""
    count = min(len(sigma), max(2, math.ceil(round(fraction * len(sigma), 6))))
    return sorted(sorted(range(len(sigma)), key=lambda i: -sigma[i])[:count])


def naive_wiener(sigma: list[float]) -> list[float]:
    return [0.25 / (0.25 + s * s) for s in sigma]


def naive_gap_of(
    encoder: nn.Module,
    x0: torch.Tensor,
    x0_hat: torch.Tensor,
    weight: list[float] | None = None,
    relation: str = "cosine",
    penalty: str = "squared",
) -> torch.Tensor:
    """The gap with the encoder called on one image at a time, in the graph of the encoder and of x0_hat."""
    e = torch.stack([encoder(image[None])[0] for image in x0])
    e_hat = torch.stack([encoder(image[None])[0] for image in x0_hat])
    return naive_gap(*naive_relations(relation, e, e_hat), weight, penalty)
