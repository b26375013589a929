"""Relations: how the images of a batch are arranged, as a matrix over pairs.

A relation takes the embeddings of real and of denoised images together, since some normalise both by a common scale, and
returns one matrix for each. Everything is computed in at least float32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from sadm.structure.errors import StructureError

Relation = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""``(embedding [B, d], embedding_hat [B, d]) -> (relation [B, B], relation_hat [B, B])``."""

_TINY_NORM = 1e-6


def cosine_relations(embedding: torch.Tensor, embedding_hat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine similarities within each set; bounded by 1, and blind to the length of embeddings.

    Args:
        embedding: of real images [B, d].
        embedding_hat: of denoised images [B, d].

    Returns:
        Two matrices [B, B] in [-1, 1]. An embedding of length zero has similarity 0 to all.

    Raises:
        StructureError: shapes that differ or are not [B, d].
    """
    e, e_hat = _checked(embedding, embedding_hat)
    unit, unit_hat = F.normalize(e, dim=1, eps=_TINY_NORM), F.normalize(e_hat, dim=1, eps=_TINY_NORM)
    return unit @ unit.T, unit_hat @ unit_hat.T


def euclidean_relations(embedding: torch.Tensor, embedding_hat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Euclidean distances within each set, divided by the mean of both matrices' pairs.

    The pooled mean keeps its gradient: scaling the embeddings gains nothing, while a spread that shrinks on one side shows.

    Args:
        embedding: of real images [B, d].
        embedding_hat: of denoised images [B, d].

    Returns:
        Two matrices [B, B], zero on the diagonal; both zero where all embeddings coincide.

    Raises:
        StructureError: shapes that differ or are not [B, d].
    """
    e, e_hat = _checked(embedding, embedding_hat)
    # Direct differences, not the matrix-product form: that loses the digits of close pairs, and its gradient at 0 is not 0.
    distance = torch.cdist(e, e, compute_mode="donot_use_mm_for_euclid_dist")
    distance_hat = torch.cdist(e_hat, e_hat, compute_mode="donot_use_mm_for_euclid_dist")
    pairs = len(e) * (len(e) - 1)
    pooled = (distance.sum() + distance_hat.sum()) / (2 * pairs)
    scale = pooled.clamp_min(torch.finfo(pooled.dtype).tiny)
    return distance / scale, distance_hat / scale


RELATIONS: dict[str, Relation] = {"cosine": cosine_relations, "euclidean": euclidean_relations}


def _checked(embedding: torch.Tensor, embedding_hat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    if embedding.ndim != 2 or embedding.shape != embedding_hat.shape:
        raise StructureError(
            "expected two sets of embeddings of equal shape [B, d]; the encoder gave "
            f"{tuple(embedding.shape)} for real and {tuple(embedding_hat.shape)} for denoised images"
        )
    if len(embedding) < 2:
        raise StructureError(f"a relation needs pairs: at least 2 images, got {len(embedding)}. Use a larger batch")
    dtype = torch.promote_types(embedding.dtype, torch.float32)
    return embedding.to(dtype), embedding_hat.to(dtype)
