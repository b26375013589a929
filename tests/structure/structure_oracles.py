"""The structure game written a second time, with plain loops over images and pairs; slow, and easy to check by eye."""

from __future__ import annotations

import functools
import math
import statistics

import torch
from torch import nn

from sadm.structure import angle_relations


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


def naive_rbf(e: torch.Tensor, e_hat: torch.Tensor) -> tuple[list[list[torch.Tensor]], list[list[torch.Tensor]]]:
    def squared(points: torch.Tensor) -> list[list[torch.Tensor]]:
        return [[sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) for b in points] for a in points]

    real, denoised = squared(e), squared(e_hat)
    pairs = [float(matrix[i][j].detach()) for matrix in (real, denoised) for j in range(len(e)) for i in range(j)]
    median, mean = statistics.median_low(pairs), statistics.fmean(pairs)
    bandwidth = (median if median > 2.0**-52 * mean else mean) or 1.0  # for float64; a constant to the gradient
    return [[torch.exp(-d / (2 * bandwidth)) for d in row] for row in real], [
        [torch.exp(-d / (2 * bandwidth)) for d in row] for row in denoised
    ]


def naive_angle(corner: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The cosine at `corner` between the directions to two points; 0 where a point coincides with the corner."""
    a, b = first - corner, second - corner
    if not a.detach().any() or not b.detach().any():
        return corner.new_zeros(())
    return (a / a.square().sum().sqrt() * (b / b.square().sum().sqrt())).sum()


@functools.cache
def angle_partners(batch: int, seed: int = 0) -> tuple[tuple[int, ...], ...]:
    """The third image of each triplet, found out from outside: the only one whose angle fits, for points in general position."""
    probe = images(987, batch, 6, dtype=torch.float64)
    cosines, _ = angle_relations(probe, probe, seed)
    partners = []
    for i in range(batch):
        row = []
        for j in range(batch):
            fits = [
                k
                for k in range(batch)
                if len({i, j, k}) == 3 and abs(naive_angle(probe[i], probe[j], probe[k]) - cosines[i, j]) < 1e-9
            ]
            assert len(fits) == (i != j), (i, j, fits)
            row.append(fits[0] if fits else i)
        partners.append(tuple(row))
    return tuple(partners)


def naive_angles(e: torch.Tensor) -> list[list[torch.Tensor]]:
    partners = angle_partners(len(e))
    return [[naive_angle(e[i], e[j], e[partners[i][j]]) for j in range(len(e))] for i in range(len(e))]


def naive_relations(
    name: str, e: torch.Tensor, e_hat: torch.Tensor
) -> tuple[list[list[torch.Tensor]], list[list[torch.Tensor]]]:
    if name == "cosine":
        return naive_cosine(e), naive_cosine(e_hat)
    if name == "angles":
        return naive_angles(e), naive_angles(e_hat)
    return {"euclidean": naive_euclidean, "rbf": naive_rbf}[name](e, e_hat)


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


def naive_rank_gap(
    relation: torch.Tensor, relation_hat: torch.Tensor, weight: list[float], temperature: float
) -> torch.Tensor:
    """For float64 and B >= 3, over every anchor and every ordered pair of others."""
    count = len(relation)
    share = [w ** (1 / 3) for w in weight]

    def spread(matrix: torch.Tensor) -> torch.Tensor:
        total, norm = matrix.new_zeros(()), 0.0
        for i in range(count):
            others = [j for j in range(count) if j != i]
            row = sum(share[j] * share[k] * (matrix[i, j] - matrix[i, k]) ** 2 for j in others for k in others)
            total = total + share[i] * row / max(sum(share[j] for j in others) ** 2, 1e-300)
            norm += share[i]
        return (total / max(norm, 1e-300) + 1e-8).sqrt()

    scale, scale_hat = temperature * spread(relation), temperature * spread(relation_hat)
    cost, norm = relation.new_zeros(()), 0.0
    for i in range(count):
        for j in range(count):
            for k in range(count):
                if len({i, j, k}) == 3:
                    order = torch.tanh((relation[i, j] - relation[i, k]) / scale)
                    order_hat = torch.tanh((relation_hat[i, j] - relation_hat[i, k]) / scale_hat)
                    triple = share[i] * share[j] * share[k]
                    cost = cost + triple * (order - order_hat) ** 2 / 4
                    norm += triple
    return cost / max(norm, 1e-300)


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
