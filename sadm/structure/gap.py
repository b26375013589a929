"""The structure gap: the distance between how real and denoised images are arranged.

Every gap is 0 for equal relations. What each compares: ``squared`` and ``huber`` the entries, ``rank`` the order within rows,
``spectral`` the eigenvalues of the graph. Leading dimensions of the relations are separate sets, whose gaps are averaged.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from sadm.structure.errors import StructureError

Gap = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""``(relation [B, B], relation_hat [B, B], weight [B]) -> scalar``; all weights are 1 where none were given."""

HUBER_DELTA = 0.1
RANK_TEMPERATURE = 0.5
_LEAST_SPREAD = 1e-4  # of a relation, all of which are of order 1: below, differences in a row are rounding errors
_LEAST_DEGREE = 1e-6  # of a vertex: bounds the slope of 1 / sqrt(degree) where a vertex is cut off
_TRIPLES_AT_ONCE = 2**21  # 8 MB of float32; up to B = 128 nothing is computed twice


def structure_gap(
    relation: torch.Tensor,
    relation_hat: torch.Tensor,
    weight: torch.Tensor | None = None,
    penalty: str | Gap = "squared",
) -> torch.Tensor:
    """The gap between two relations, averaged over leading dimensions.

    Args:
        relation: of real images [..., B, B].
        relation_hat: of denoised images [..., B, B].
        weight: of each image [B], >= 0; None = all equal.
        penalty: a name in `PENALTIES` (see `squared_gap`, `huber_gap`, `rank_gap`, `spectral_gap`), or a callable of type
            `Gap`, which is called for each set of images.

    Returns:
        A scalar >= 0, at least float32; 0 where every weight is 0.

    Raises:
        StructureError: an unknown penalty, shapes that do not fit, a weight below 0, or a callable that does not return a
            scalar.
    """
    batch = relation.shape[-1] if relation.ndim else 0
    if relation.shape[-2:] != (batch, batch) or relation_hat.shape != relation.shape:
        raise StructureError(
            f"expected two matrices [B, B], got {tuple(relation.shape)} and {tuple(relation_hat.shape)}"
        )
    if weight is not None and weight.shape != (batch,):
        raise StructureError(f"expected a weight [{batch}], one for each image, got {tuple(weight.shape)}")
    if weight is not None and not bool((weight >= 0).all()):
        raise StructureError(f"weights must be at least 0, got {weight.tolist()}")
    if isinstance(penalty, str) and penalty not in PENALTIES:
        raise StructureError(f"unknown penalty {penalty!r}; expected one of {', '.join(PENALTIES)}, or a callable")
    dtype = torch.promote_types(torch.promote_types(relation.dtype, relation_hat.dtype), torch.float32)
    relation, relation_hat = relation.to(dtype), relation_hat.to(dtype)
    weight = relation.new_ones(batch) if weight is None else weight.to(dtype)
    if isinstance(penalty, str):
        return PENALTIES[penalty](relation, relation_hat, weight)
    sets = zip(relation.reshape(-1, batch, batch), relation_hat.reshape(-1, batch, batch), strict=True)
    gaps = [penalty(one, one_hat, weight) for one, one_hat in sets]
    for gap in gaps:
        if not isinstance(gap, torch.Tensor) or gap.ndim:
            given = f"shape {tuple(gap.shape)}" if isinstance(gap, torch.Tensor) else type(gap).__name__
            raise StructureError(f"a penalty of your own must return a scalar tensor, it gave {given}")
    return torch.stack(gaps).mean()


def squared_gap(relation: torch.Tensor, relation_hat: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """``sum_{i != j} w_ij (R_ij - R_hat_ij)^2 / sum_{i != j} w_ij`` with ``w_ij = sqrt(w_i w_j)``."""
    return _mean_over_pairs((relation - relation_hat).square(), weight)


def huber_gap(relation: torch.Tensor, relation_hat: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """As `squared_gap`, with ``d^2 / 2`` up to a difference of 0.1 and linear beyond: a few odd pairs do not rule."""
    cost = F.huber_loss(relation_hat, relation, delta=HUBER_DELTA, reduction="none")
    return _mean_over_pairs(cost, weight)


def rank_gap(
    relation: torch.Tensor,
    relation_hat: torch.Tensor,
    weight: torch.Tensor,
    temperature: float = RANK_TEMPERATURE,
) -> torch.Tensor:
    """Disagreement of order within rows: for an anchor i, which of j and k is closer.

    ``mean_{i, j != k} (s_ijk - s_hat_ijk)^2 / 4`` with ``s_ijk = tanh((R_ij - R_ik) / (temperature * spread))``, weighted by
    ``(w_i w_j w_k)^(1/3)``; spread, each side its own, is the root mean square of ``R_ij - R_ik`` for j and k drawn from row i
    by ``w^(1/3)``, pooled over anchors by theirs. An
    increasing affine map of either relation changes nothing; as the temperature goes to 0, no increasing map does, and the gap
    becomes the share of discordant pairs, (1 - Kendall's tau) / 2, where a tie on one side counts 1/4.

    Time grows with B^3; memory is bounded, since anchors are taken in blocks that the backward pass computes again.

    Args:
        relation: of real images [..., B, B].
        relation_hat: of denoised images [..., B, B].
        weight: of each image [B].
        temperature: > 0; small = only the order counts, and gradients come from near ties alone.

    Raises:
        StructureError: fewer than 3 images, or a temperature that is not positive.
    """
    batch = len(weight)
    if batch < 3:
        raise StructureError(
            f"the rank gap needs triplets: at least 3 images, got {batch}. Use a larger batch or fraction"
        )
    if not temperature > 0:
        raise StructureError(f"temperature must be positive, got {temperature}")
    anchor = (_relative(weight)) ** (1 / 3)  # [B]
    others = anchor.repeat(batch, 1).fill_diagonal_(0.0)  # [B, B], row i: the weights of j and k at anchor i
    rows, rows_hat = (
        (r / (temperature * _row_spread(r, anchor, others))).reshape(-1, batch) for r in (relation, relation_hat)
    )  # [N, B] each, one row for each anchor of each set
    sets = len(rows) // batch
    row_weight, row_anchor = others.repeat(sets, 1), anchor.repeat(sets)  # [N, B], [N]
    block = max(1, _TRIPLES_AT_ONCE // batch**2)
    if len(rows) <= block:
        cost = _order_cost(rows, rows_hat, row_weight, row_anchor)
    else:
        blocks = zip(*(t.split(block) for t in (rows, rows_hat, row_weight, row_anchor)), strict=True)
        costs = [checkpoint(_order_cost, *part, use_reentrant=False, preserve_rng_state=False) for part in blocks]
        cost = torch.stack(costs).sum()
    total = sets * (anchor * (others.sum(1).square() - others.square().sum(1))).sum()
    return cost / total.clamp_min(torch.finfo(cost.dtype).tiny)


def spectral_gap(relation: torch.Tensor, relation_hat: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of the sorted eigenvalues of two graphs' symmetric normalised Laplacians.

    ``L = I - D^(-1/2) A D^(-1/2)``, ``A_ij = sqrt(w_i w_j) max(0, (R_ij + R_ji) / 2)`` off the diagonal, D its row sums
    (Chung 1997, section 1.2). A signed relation loses its negative entries: images at an obtuse angle share no edge. An image
    without edges has the eigenvalue 1, and one of weight 0 takes no part. Blind to which image is which: it compares the
    clusters of the two sets, not pairs. The gradient ``V diag(g) V^T`` is finite also where eigenvalues repeat.

    Args:
        relation: of real images [..., B, B], affinities rather than distances.
        relation_hat: of denoised images [..., B, B].
        weight: of each image [B].
    """
    kept = weight.nonzero().squeeze(1)  # [m]
    root = _relative(weight)[kept].sqrt()
    spectra = [_laplacian_spectrum(r[..., kept, :][..., kept], root) for r in (relation, relation_hat)]  # [..., m] each
    return (spectra[0] - spectra[1]).square().sum(-1).mean() / max(1, len(kept))


PENALTIES: dict[str, Gap] = {
    "squared": squared_gap,
    "huber": huber_gap,
    "rank": rank_gap,
    "spectral": spectral_gap,
}


def _mean_over_pairs(cost: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    root = weight.sqrt()
    pair_weight = torch.outer(root, root).fill_diagonal_(0.0)  # [B, B]
    total = pair_weight.sum().clamp_min(torch.finfo(cost.dtype).tiny)
    return (pair_weight * cost).sum((-2, -1)).mean() / total


def _relative(weight: torch.Tensor) -> torch.Tensor:
    return weight / weight.max().clamp_min(torch.finfo(weight.dtype).tiny)


def _row_spread(relation: torch.Tensor, anchor: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Root mean square of ``R_ij - R_ik`` [..., 1, 1]: sqrt(2) times the standard deviation within rows."""
    tiny = torch.finfo(relation.dtype).tiny
    share = others / others.sum(1, keepdim=True).clamp_min(tiny)  # [B, B]
    centred = relation - (share * relation).sum(-1, keepdim=True)
    variance = (share * centred.square()).sum(-1)  # [..., B]
    pooled = (anchor * variance).sum(-1) / anchor.sum().clamp_min(tiny)  # [...]
    return (2 * pooled + _LEAST_SPREAD**2).sqrt()[..., None, None]


def _order_cost(rows: torch.Tensor, rows_hat: torch.Tensor, weight: torch.Tensor, anchor: torch.Tensor) -> torch.Tensor:
    order = (rows[:, :, None] - rows[:, None, :]).tanh()  # [n, B, B]
    order_hat = (rows_hat[:, :, None] - rows_hat[:, None, :]).tanh()  # [n, B, B]
    cost = (order - order_hat).square() / 4
    by_row = ((cost @ weight[:, :, None]).squeeze(2) * weight).sum(1)  # [n]
    return (anchor * by_row).sum()


def _laplacian_spectrum(relation: torch.Tensor, root: torch.Tensor) -> torch.Tensor:
    identity = torch.eye(len(root), dtype=relation.dtype, device=relation.device)
    affinity = ((relation + relation.mT) / 2).clamp_min(0) * torch.outer(root, root) * (1 - identity)  # [..., m, m]
    if not bool(affinity.detach().isfinite().all()):
        raise StructureError("a relation holds NaN or infinite values, and such a graph has no spectrum")
    scale = affinity.sum(-1).clamp_min(_LEAST_DEGREE).rsqrt()  # [..., m]
    return torch.linalg.eigvalsh(identity - scale[..., :, None] * affinity * scale[..., None, :])  # ascending
