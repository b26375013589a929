"""What an encoder returned, as a tuple of stages; and all relations among them."""

from __future__ import annotations

import torch

from sadm.structure.errors import StructureError
from sadm.structure.parts import Output, parts_gap
from sadm.structure.relations import Relation

Stages = tuple[torch.Tensor, ...]
"""Embeddings of the same images: each [B, d], or [B, P, d] at P places."""


def stages_of(output: Output, images: int) -> Stages:
    """An encoder's output as a tuple, one row of each stage for each image that the encoder was given.

    Raises:
        StructureError: something else than tensors, or another number of rows.
    """
    stages = (output,) if isinstance(output, torch.Tensor) else output
    tensors = isinstance(stages, (tuple, list)) and all(isinstance(stage, torch.Tensor) for stage in stages)
    if not tensors or not stages or any(stage.shape[:1] != (images,) for stage in stages):
        given = ", ".join(str(tuple(stage.shape)) for stage in stages) if tensors else type(output).__name__
        raise StructureError(
            f"the encoder was given {images} images and returned {given or 'nothing'}; expected embeddings [B, d] or "
            f"[B, P, d], or a tuple of those, with B = {images}"
        )
    return tuple(stages)


def relations_of(stages: Stages, stages_hat: Stages, relation: Relation) -> tuple[torch.Tensor, torch.Tensor]:
    """The relations of all K parts (every stage, every place), real and denoised.

    Args:
        stages: of real images, each [B, d] or [B, P, d].
        stages_hat: of denoised images, the same.
        relation: see `sadm.structure.relations`.

    Returns:
        Two tensors [K, B, B], in the graph of the stages.

    Raises:
        StructureError: what `parts_gap` refuses.
    """
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def look(real: torch.Tensor, denoised: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        seen.append((real, denoised))
        return weight.new_zeros(())

    parts_gap(stages, stages_hat, relation, penalty=look)
    return torch.stack([real for real, _ in seen]), torch.stack([denoised for _, denoised in seen])


def pair_moments(relation: torch.Tensor, relation_hat: torch.Tensor) -> torch.Tensor:
    """How relations are spread over pairs, and how real and denoised ones go together.

    Args:
        relation: of real images [K, B, B]; the mean over the K parts is taken first.
        relation_hat: of denoised images [K, B, B].

    Returns:
        [6]: the number of ordered pairs i != j, both means, and the sums of squared deviations from them: of real ones, of
        denoised ones, and of their products. Deviations, since sums of squares would lose the digits of relations that have
        nearly collapsed.
    """
    batch = relation.shape[-1]
    others = ~torch.eye(batch, dtype=torch.bool, device=relation.device)
    real, denoised = (r.mean(0)[others] for r in (relation.detach(), relation_hat.detach()))  # [B (B - 1)] each
    centred, centred_hat = real - real.mean(), denoised - denoised.mean()
    count = real.new_tensor(float(len(real)))
    products = (centred.square().sum(), centred_hat.square().sum(), (centred * centred_hat).sum())
    return torch.stack([count, real.mean(), denoised.mean(), *products])
