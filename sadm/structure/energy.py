"""Energy distance: how differently two unpaired sets of embeddings are distributed."""

from __future__ import annotations

import torch

from sadm.structure.errors import StructureError


def energy_distance(embedding: torch.Tensor, embedding_hat: torch.Tensor) -> torch.Tensor:
    """``2 E|e - e_hat| - E|e - e'| - E|e_hat - e_hat'|`` over the mean ``E|e - e'|`` (Székely & Rizzo 2013, JSPI 143).

    No image has a partner on the other side. In expectation it is 0 for equal distributions and positive for others; of one
    batch, the unbiased estimate (no point with itself) may fall below 0. The scale is a constant to the gradient.

    Args:
        embedding: of real images [n, d].
        embedding_hat: of others [m, d].

    Returns:
        A scalar, at least float32.

    Raises:
        StructureError: shapes that do not fit, fewer than 2 of a kind, real embeddings that all coincide, NaN or infinity.
    """
    if embedding.ndim != 2 or embedding_hat.ndim != 2 or embedding.shape[1] != embedding_hat.shape[1]:
        raise StructureError(
            f"expected two sets of embeddings [n, d] and [m, d], got {tuple(embedding.shape)} and {tuple(embedding_hat.shape)}"
        )
    if min(len(embedding), len(embedding_hat)) < 2:
        raise StructureError(
            f"a distribution needs at least 2 images of a kind, got {len(embedding)} and {len(embedding_hat)}"
        )
    dtype = torch.promote_types(torch.promote_types(embedding.dtype, embedding_hat.dtype), torch.float32)
    real, other = embedding.to(dtype), embedding_hat.to(dtype)
    within = _mean_within(real)
    distance = (2 * _distances(real, other).mean() - within - _mean_within(other)) / within.detach()
    if not bool(torch.isfinite(distance)):
        raise StructureError("embeddings hold NaN or infinite values, or all real ones coincide")
    return distance


def _mean_within(points: torch.Tensor) -> torch.Tensor:
    return _distances(points, points).sum() / (len(points) * (len(points) - 1))


def _distances(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    # Direct differences: the gradient of a distance of 0 is 0.
    return torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist")
