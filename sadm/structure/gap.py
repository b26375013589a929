"""The structure gap: the distance between how real and denoised images are arranged."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from sadm.structure.errors import StructureError

PENALTIES = ("squared", "huber")
HUBER_DELTA = 0.1


def structure_gap(
    relation: torch.Tensor, relation_hat: torch.Tensor, weight: torch.Tensor | None = None, penalty: str = "squared"
) -> torch.Tensor:
    """``sum_{i != j} w_ij rho(R_ij - R_hat_ij) / sum_{i != j} w_ij`` with ``w_ij = sqrt(w_i w_j)``.

    Args:
        relation: of real images [B, B].
        relation_hat: of denoised images [B, B].
        weight: of each image [B], >= 0; None = all equal.
        penalty: ``squared`` or ``huber`` (quadratic up to a difference of 0.1, linear beyond).

    Returns:
        A scalar >= 0, at least float32; 0 where every weight is 0.

    Raises:
        StructureError: an unknown penalty, or shapes that do not fit.
    """
    batch = len(relation)
    if relation.shape != (batch, batch) or relation_hat.shape != relation.shape:
        raise StructureError(
            f"expected two matrices [B, B], got {tuple(relation.shape)} and {tuple(relation_hat.shape)}"
        )
    if weight is not None and weight.shape != (batch,):
        raise StructureError(f"expected a weight [{batch}], one for each image, got {tuple(weight.shape)}")
    dtype = torch.promote_types(relation.dtype, torch.float32)
    relation, relation_hat = relation.to(dtype), relation_hat.to(dtype)
    if penalty == "squared":
        cost = (relation - relation_hat).square()
    elif penalty == "huber":
        cost = F.huber_loss(relation_hat, relation, delta=HUBER_DELTA, reduction="none")
    else:
        raise StructureError(f"unknown penalty {penalty!r}; expected one of {', '.join(PENALTIES)}")
    root = (cost.new_ones(batch) if weight is None else weight.to(dtype)).sqrt()
    pair_weight = torch.outer(root, root).fill_diagonal_(0.0)  # [B, B]
    return (pair_weight * cost).sum() / pair_weight.sum().clamp_min(torch.finfo(dtype).tiny)
