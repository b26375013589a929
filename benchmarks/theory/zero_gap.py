"""Statement 2: what a gap of zero says, relation by relation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from sadm.structure import PENALTIES, RELATIONS, structure_gap

COUNT, LENGTH = 8, 3  # images and length of their embeddings; more images than a rigid set needs
Change = Callable[[torch.Tensor], torch.Tensor]


def free_directions(relation: str) -> int:
    """Dimension of the set of embeddings [B, d] around a generic one that the relation can't tell apart, by theory."""
    turns = LENGTH * (LENGTH - 1) // 2
    return {
        "cosine": turns + COUNT,  # and a length for each image
        "euclidean": turns + LENGTH,  # and a translation
        "rbf": turns + LENGTH,
        "angles": turns + LENGTH + 1,  # and one scale
    }[relation]


def measure() -> dict[str, Any]:
    """All numbers of the statement."""
    return {
        "relations": [
            {
                "relation": name,
                "gaps": {change: gap_after(name, act) for change, act in changes().items()},
                "free": free_directions(name),
                "nullity": nullity(name),
            }
            for name in RELATIONS
        ],
        "penalties": [{"penalty": name, "gaps": penalty_gaps(name)} for name in PENALTIES],
        "blind_encoder": blind_encoder(),
    }


def embeddings(seed: int = 0) -> torch.Tensor:
    """Generic embeddings [B, d]."""
    return torch.randn(COUNT, LENGTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def changes() -> dict[str, Change]:
    """Maps of one set of embeddings, each of which some relation ignores."""
    draws = torch.Generator().manual_seed(1)
    turn = torch.linalg.qr(torch.randn(LENGTH, LENGTH, generator=draws, dtype=torch.float64))[0]
    move = torch.randn(LENGTH, generator=draws, dtype=torch.float64)
    lengths = torch.rand(COUNT, 1, generator=draws, dtype=torch.float64) * 3 + 0.2
    return {
        "rotation or reflection": lambda e: e @ turn,
        "translation": lambda e: e + move,
        "scale of the set": lambda e: 1.7 * e,
        "scale of each image": lambda e: lengths * e,
    }


def gap_after(relation: str, change: Change) -> float:
    """The squared gap between embeddings and their changed copies."""
    e = embeddings()
    return float(structure_gap(*RELATIONS[relation](e, change(e))))


def nullity(relation: str) -> int:
    """Directions in which ``R - R_hat`` does not move to first order, at a rotated copy; over all pairs."""
    e = embeddings()
    e_hat = changes()["rotation or reflection"](e)

    def difference(flat: torch.Tensor) -> torch.Tensor:
        real, denoised = RELATIONS[relation](e, flat.reshape(e.shape))
        return (real - denoised)[~torch.eye(COUNT, dtype=torch.bool)]

    jacobian = torch.autograd.functional.jacobian(difference, e_hat.flatten())  # [B (B - 1), B d]
    return e.numel() - int(torch.linalg.matrix_rank(jacobian, rtol=1e-9))


def penalty_gaps(penalty: str) -> dict[str, float]:
    """The gap between an affinity matrix and a changed copy of it, and the same for a matrix of other images."""
    real, other = (RELATIONS["rbf"](embeddings(seed), embeddings(seed))[0] for seed in (0, 2))
    order = torch.tensor([3, 0, 7, 1, 6, 2, 5, 4])
    changed = {
        "nothing": real,
        "2 R + 0.1": 2 * real + 0.1,
        "2 R": 2 * real,
        "images permuted": real[order][:, order],
        "other images": other,
    }
    return {name: float(structure_gap(real, matrix, penalty=penalty)) for name, matrix in changed.items()}


def blind_encoder() -> dict[str, float]:
    """A linear encoder that sees 4 of 16 directions: the gap and the error of estimates that are wrong in the other 12."""
    draws = torch.Generator().manual_seed(4)
    rows = torch.linalg.qr(torch.randn(16, 16, generator=draws, dtype=torch.float64))[0]
    seen, unseen = rows[:4], rows[4:]
    x0 = torch.randn(COUNT, 16, generator=draws, dtype=torch.float64)
    x0_hat = x0 + 5 * torch.randn(COUNT, 12, generator=draws, dtype=torch.float64) @ unseen
    gaps = [float(structure_gap(*relation(x0 @ seen.T, x0_hat @ seen.T))) for relation in RELATIONS.values()]
    return {"largest_gap": max(gaps), "error": float((x0_hat - x0).square().sum(1).mean().sqrt())}
