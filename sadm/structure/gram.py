"""The structure gap of cosine relations without the relations: linear in the number of embeddings, not quadratic."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from sadm.structure.errors import StructureError
from sadm.structure.processes import ALONE, Processes
from sadm.structure.relations import TINY_NORM


def gram_gap(embedding: torch.Tensor, embedding_hat: torch.Tensor, processes: Processes = ALONE) -> torch.Tensor:
    """The squared gap between the cosine relations of n embeddings and of n others, which may differ in length.

    With unit vectors in the rows of U [n, d] and V [n, D], ``|U U^T - V V^T|^2 = |U^T U|^2 - 2 |U^T V|^2 + |V^T V|^2``: time
    n (d + D)^2 and memory n (d + D) instead of n^2 (d + D) and n^2. Every image of a batch can so be related to every other at
    every place. The value equals `structure_gap` of `cosine_relations`, up to the rounding of these three terms, each at most
    n^2: in float32 about 1e-7.

    Args:
        embedding: of real images [n, d].
        embedding_hat: of denoised images, or activations [n, D].
        processes: each of which has a part of the n; they send each other (d + D)^2 numbers, and the gradients at their parts
            are as in `sadm.structure.processes`.

    Returns:
        A scalar, at least float32.

    Raises:
        StructureError: other shapes, fewer than 2 embeddings, or NaN or infinity.
    """
    if embedding.ndim != 2 or embedding_hat.ndim != 2 or len(embedding) != len(embedding_hat):
        raise StructureError(
            f"expected embeddings [n, d] and as many others [n, D], got {tuple(embedding.shape)} and "
            f"{tuple(embedding_hat.shape)}"
        )
    count = processes.part(len(embedding), embedding.device).whole
    if count < 2:
        raise StructureError(f"a relation needs pairs: at least 2 embeddings, got {count}. Use a larger batch")
    dtype = torch.promote_types(torch.promote_types(embedding.dtype, embedding_hat.dtype), torch.float32)
    unit, unit_hat = (F.normalize(e.to(dtype), dim=1, eps=TINY_NORM) for e in (embedding, embedding_hat))
    products = [processes.sum(a.mT @ b) for a, b in ((unit, unit), (unit, unit_hat), (unit_hat, unit_hat))]
    real, mixed, denoised = (product.square().sum() for product in products)
    all_pairs = real - 2 * mixed + denoised
    # Pairs of an embedding with itself do not count; they differ where one side has length zero.
    own = processes.sum((unit.square().sum(1) - unit_hat.square().sum(1)).square().sum())
    gap = (all_pairs - own) / (count * (count - 1))
    if not bool(torch.isfinite(gap)):
        raise StructureError("an embedding or activation holds NaN or infinite values")
    return gap
