"""Statement 5: which of the game's fields are gradients of a scalar, by numerical Jacobians of the package's own gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.theory.bound import field, game_on
from benchmarks.theory.mixtures import RandomFeatures
from sadm.structure import cosine_relations, structure_gap

COUNT, LENGTH = 4, 2
Field = Callable[[torch.Tensor], torch.Tensor]
"""x0_hat [B, d] to a direction [B, d]."""


def measure() -> dict[str, Any]:
    """All numbers of the statement."""
    names = {
        "fixed weight": fixed_weight(1.0),
        "one scale for the batch, from both norms": batch_scale(0.5),
        "a fixed scale of its own for each image": own_scales(),
        "balanced image by image": balanced(0.5, math.inf),
        "balanced, every image at k_max": balanced(0.5, 1e-3),
    }
    rows = [{"field": name, "asymmetry": asymmetry(f), "circulation": circulation(f)} for name, f in names.items()]
    return {"fields": rows, "two_players": two_players()}


def points() -> tuple[torch.Tensor, torch.Tensor]:
    """x0 and x0_hat [B, d]."""
    draws = torch.Generator().manual_seed(0)
    x0 = torch.randn(COUNT, LENGTH, generator=draws, dtype=torch.float64)
    return x0, x0 + 0.5 * torch.randn(COUNT, LENGTH, generator=draws, dtype=torch.float64)


def structure_gradient(x0: torch.Tensor, x0_hat: torch.Tensor) -> torch.Tensor:
    """The gap's gradient at x0_hat [B, d], of a frozen encoder."""
    leaf, encoder = x0_hat.detach().requires_grad_(), RandomFeatures(LENGTH, seed=2)
    return torch.autograd.grad(gap_of(encoder, x0, leaf), leaf)[0]


def gap_of(encoder: nn.Module, x0: torch.Tensor, x0_hat: torch.Tensor) -> torch.Tensor:
    """The gap of cosine relations."""
    return structure_gap(*cosine_relations(encoder(x0), encoder(x0_hat)))


def fixed_weight(weight: float) -> Field:
    """``g_dsm + weight g_gap``."""
    x0, _ = points()
    return lambda x0_hat: x0_hat - x0 + weight * structure_gradient(x0, x0_hat)


def batch_scale(ratio: float) -> Field:
    """``g_dsm + k g_gap``, k = ratio |g_dsm| / |g_gap| over the whole batch."""
    x0, _ = points()

    def combined(x0_hat: torch.Tensor) -> torch.Tensor:
        g_dsm, g_gap = x0_hat - x0, structure_gradient(x0, x0_hat)
        return g_dsm + ratio * g_dsm.norm() / g_gap.norm() * g_gap

    return combined


def own_scales() -> Field:
    """``g_dsm + k_i g_gap``, with constants k_i that differ between images."""
    x0, _ = points()
    k = torch.linspace(0.5, 2.0, COUNT, dtype=torch.float64)[:, None]
    return lambda x0_hat: x0_hat - x0 + k * structure_gradient(x0, x0_hat)


def balanced(ratio: float, k_max: float) -> Field:
    """The package's field."""
    x0, _ = points()
    game = game_on(RandomFeatures(LENGTH, seed=2), ratio, "frozen", "cosine", k_max)
    return lambda x0_hat: field(game, x0, x0_hat)


def jacobian(f: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor, step: float = 1e-5) -> torch.Tensor:
    """Central differences of a map of vectors [n, n]."""
    columns = []
    for index in range(at.numel()):
        move = torch.zeros_like(at)
        move[index] = step
        columns.append((f(at + move) - f(at - move)) / (2 * step))
    return torch.stack(columns, dim=1)


def asymmetry(f: Field) -> float:
    """``|J - J'| / |J - I|``: the antisymmetric part over what the game adds to the identity, which is denoising's share."""
    _, x0_hat = points()
    matrix = jacobian(lambda flat: f(flat.reshape(x0_hat.shape)).flatten(), x0_hat.flatten())
    return float((matrix - matrix.T).norm() / (matrix - torch.eye(len(matrix), dtype=matrix.dtype)).norm())


def circulation(f: Field, radius: float = 0.3, pieces: int = 200) -> float:
    """The integral of what the game adds to denoising around a circle, over that of its length; 0 for a gradient field."""
    x0, x0_hat = points()
    draws = torch.Generator().manual_seed(7)
    plane = torch.linalg.qr(torch.randn(x0_hat.numel(), 2, generator=draws, dtype=x0.dtype))[0].T  # [2, B d]
    total = length = 0.0
    for piece in range(pieces):
        angle = 2 * math.pi * piece / pieces
        place = x0_hat.flatten() + radius * (math.cos(angle) * plane[0] + math.sin(angle) * plane[1])
        tangent = radius * (math.cos(angle) * plane[1] - math.sin(angle) * plane[0])
        added = f(place.reshape(x0.shape)).flatten() - (place - x0.flatten())
        total += float(added @ tangent)
        length += float(added.norm() * tangent.norm())
    return abs(total) / length


def two_players() -> dict[str, float]:
    """Simultaneous descent of x0_hat and ascent of the encoder: symmetry of the Jacobian's blocks, relative to their size."""
    x0, x0_hat = points()
    encoder = RandomFeatures(LENGTH, seed=2, length=3, width=4)
    weights, split = list(encoder.parameters()), x0_hat.numel()
    start = torch.nn.utils.parameters_to_vector(weights).detach()

    def joint(state: torch.Tensor) -> torch.Tensor:
        torch.nn.utils.vector_to_parameters(state[split:].clone(), weights)
        leaf = state[:split].reshape(x0.shape).requires_grad_()
        down, *up = torch.autograd.grad(gap_of(encoder, x0, leaf), [leaf, *weights])
        return torch.cat([down.flatten(), *(-gradient.flatten() for gradient in up)])

    matrix = jacobian(joint, torch.cat([x0_hat.flatten(), start]))
    own, cross, back = matrix[:split, :split], matrix[:split, split:], matrix[split:, :split]
    return {
        "within_x0_hat": float((own - own.T).norm() / own.norm()),
        "across_minus": float((cross - back.T).norm() / cross.norm()),
        "across_plus": float((cross + back.T).norm() / cross.norm()),
    }
