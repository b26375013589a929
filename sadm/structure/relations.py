"""Relations: how the images of a batch are arranged, as a matrix over pairs.

A relation takes the embeddings of real and of denoised images together, since some normalise both by a common scale, and
returns one matrix for each. Everything is computed in at least float32. The relations of this module also take leading
dimensions, each entry of which is a set of its own: embeddings [P, B, d] at P places give matrices [P, B, B].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from sadm.structure.errors import StructureError

Relation = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""``(embedding [B, d], embedding_hat [B, d]) -> (relation [B, B], relation_hat [B, B])``."""

TINY_NORM = 1e-6


def cosine_relations(embedding: torch.Tensor, embedding_hat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine similarities within each set; bounded by 1, and blind to the length of embeddings.

    Args:
        embedding: of real images [..., B, d].
        embedding_hat: of denoised images [..., B, d].

    Returns:
        Two matrices [..., B, B] in [-1, 1]. An embedding of length zero has similarity 0 to all.

    Raises:
        StructureError: shapes that differ or are not [..., B, d], or fewer than 2 images.
    """
    e, e_hat = _checked(embedding, embedding_hat)
    unit, unit_hat = F.normalize(e, dim=-1, eps=TINY_NORM), F.normalize(e_hat, dim=-1, eps=TINY_NORM)
    return unit @ unit.mT, unit_hat @ unit_hat.mT


def euclidean_relations(embedding: torch.Tensor, embedding_hat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Euclidean distances within each set, divided by the mean of both matrices' pairs.

    The pooled mean keeps its gradient: scaling the embeddings gains nothing, while a spread that shrinks on one side shows.

    Args:
        embedding: of real images [..., B, d].
        embedding_hat: of denoised images [..., B, d].

    Returns:
        Two matrices [..., B, B], zero on the diagonal; both zero where all embeddings coincide.

    Raises:
        StructureError: shapes that differ or are not [..., B, d], or fewer than 2 images.
    """
    e, e_hat = _checked(embedding, embedding_hat)
    distance, distance_hat = _distances(e), _distances(e_hat)
    pairs = e.shape[-2] * (e.shape[-2] - 1)
    pooled = (distance.sum((-2, -1), keepdim=True) + distance_hat.sum((-2, -1), keepdim=True)) / (2 * pairs)
    scale = pooled.clamp_min(torch.finfo(pooled.dtype).tiny)  # [..., 1, 1]
    return distance / scale, distance_hat / scale


def rbf_relations(embedding: torch.Tensor, embedding_hat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Affinities ``exp(-d^2 / (2 h^2))``, h^2 the median of the squared distances of all pairs of both sets.

    Near pairs count, far pairs are all alike. Half of the pairs lie within h, so the affinities spread over their range
    whatever the encoder's scale, and a few outliers do not move it. The bandwidth is a constant to the gradient: the
    derivative of a median is that of one or two pairs, which would be pulled for all the others, and would jump to another
    pair from step to step.

    Args:
        embedding: of real images [..., B, d].
        embedding_hat: of denoised images [..., B, d].

    Returns:
        Two matrices [..., B, B] in [0, 1], 1 on the diagonal and wherever two embeddings coincide. Where most pairs coincide
        and the median says nothing, h^2 is the mean of the squared distances; where all do, every affinity is 1.

    Raises:
        StructureError: shapes that differ or are not [..., B, d], or fewer than 2 images.
    """
    e, e_hat = _checked(embedding, embedding_hat)
    squared, squared_hat = _distances(e).square(), _distances(e_hat).square()  # [..., B, B]
    bandwidth = _pooled_bandwidth(squared.detach(), squared_hat.detach())  # [..., 1, 1]
    return (-squared / (2 * bandwidth)).exp(), (-squared_hat / (2 * bandwidth)).exp()


def angle_relations(
    embedding: torch.Tensor, embedding_hat: torch.Tensor, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Angles of triplets (Park et al. 2019, arXiv 1904.05068), one for each ordered pair instead of all B^3.

    ``R_ij`` is the cosine of the angle at image i between the directions to j and to a partner ``pi(i, j)``, which is drawn
    from the other images by `seed` and B alone: the same triplets on both sides and in every step, at the cost of pairs.
    Blind to rotation, shift and scale of either set.

    Args:
        embedding: of real images [..., B, d].
        embedding_hat: of denoised images [..., B, d].
        seed: of the partners.

    Returns:
        Two matrices [..., B, B] in [-1, 1], not symmetric. The diagonal is 0, and so are value and gradient wherever j or its
        partner coincides with i (to the precision of the longer side), which leaves no angle.

    Raises:
        StructureError: shapes that differ or are not [..., B, d], or fewer than 3 images.
    """
    e, e_hat = _checked(embedding, embedding_hat)
    batch = e.shape[-2]
    if batch < 3:
        raise StructureError(f"angles need triplets: at least 3 images, got {batch}. Use a larger batch or fraction")
    partner = _partners(batch, seed).to(e.device)
    return _triplet_cosines(_distances(e), partner), _triplet_cosines(_distances(e_hat), partner)


RELATIONS: dict[str, Relation] = {
    "cosine": cosine_relations,
    "euclidean": euclidean_relations,
    "rbf": rbf_relations,
    "angles": angle_relations,
}


def _checked(embedding: torch.Tensor, embedding_hat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    if embedding.ndim < 2 or embedding.shape != embedding_hat.shape:
        raise StructureError(
            "expected two sets of embeddings of equal shape [B, d]; the encoder gave "
            f"{tuple(embedding.shape)} for real and {tuple(embedding_hat.shape)} for denoised images"
        )
    if embedding.shape[-2] < 2:
        raise StructureError(
            f"a relation needs pairs: at least 2 images, got {embedding.shape[-2]}. Use a larger batch"
        )
    dtype = torch.promote_types(embedding.dtype, torch.float32)
    return embedding.to(dtype), embedding_hat.to(dtype)


def _distances(e: torch.Tensor) -> torch.Tensor:
    # Direct differences, not the matrix-product form: that loses the digits of close pairs, and its gradient at 0 is not 0.
    return torch.cdist(e, e, compute_mode="donot_use_mm_for_euclid_dist")  # [..., B, B]


def _pooled_bandwidth(squared: torch.Tensor, squared_hat: torch.Tensor) -> torch.Tensor:
    batch = squared.shape[-1]
    first, second = torch.triu_indices(batch, batch, offset=1, device=squared.device)
    pairs = torch.cat([squared[..., first, second], squared_hat[..., first, second]], dim=-1)  # [..., B (B - 1)]
    median, mean = pairs.median(dim=-1).values, pairs.mean(dim=-1)
    limits = torch.finfo(pairs.dtype)
    # Distances between images that should coincide are rounding errors, not exact zeros: hence relative to the mean.
    bandwidth = torch.where(median > limits.eps * mean, median, mean)
    # The second floor keeps 1 / h^2, which the gradient holds, far from overflow.
    bandwidth = torch.where(bandwidth > limits.tiny / limits.eps, bandwidth, torch.ones_like(bandwidth))
    return bandwidth[..., None, None]


def _partners(batch: int, seed: int) -> torch.Tensor:
    """``pi(i, j)`` [B, B]: uniform over the images other than i and j, on the CPU so that every device has the same."""
    drawn = torch.randint(batch - 2, (batch, batch), generator=torch.Generator().manual_seed(seed))
    index = torch.arange(batch)
    low, high = torch.minimum(index[:, None], index), torch.maximum(index[:, None], index)
    drawn = drawn + (drawn >= low)
    return drawn + (drawn >= high)


def _triplet_cosines(distance: torch.Tensor, partner: torch.Tensor) -> torch.Tensor:
    # Law of cosines on distances: directions themselves would take [..., B, B, d].
    to_partner = distance.gather(-1, partner.expand_as(distance))  # [..., B, B], from i to pi(i, j)
    across = distance[..., torch.arange(len(partner), device=partner.device), partner]  # [..., B, B], j to pi(i, j)
    short, long = torch.minimum(distance, to_partner), torch.maximum(distance, to_partner)
    # Below the rounding error of `long - across` the short side has no direction; exact zeros are of that kind.
    exists = short > torch.finfo(short.dtype).eps * long
    one = torch.ones_like(distance)
    short, long = torch.where(exists, short, one), torch.where(exists, long, one)
    # (short^2 + long^2 - across^2) / (2 short long), with the difference of squares as a product, which keeps its digits.
    cosine = (short / long + (long - across) / short * ((long + across) / long)) / 2
    return torch.where(exists, cosine, torch.zeros_like(cosine)).clamp(-1, 1)
