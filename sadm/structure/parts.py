"""Local and global structure: the gap of whatever an encoder returns, averaged over its parts."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sadm.structure.errors import StructureError
from sadm.structure.gap import Gap, structure_gap
from sadm.structure.relations import (
    Relation,
    angle_relations,
    cosine_relations,
    euclidean_relations,
    rbf_relations,
)

Output = torch.Tensor | Sequence[torch.Tensor]
"""An encoder's output: [B, d], [B, P, d] for P places, or a tuple or list of such stages."""

# These take all places at once; a user's own relation need only know [B, d].
_TAKES_LEADING_DIMENSIONS = (cosine_relations, euclidean_relations, rbf_relations, angle_relations)


def parts_gap(
    output: Output,
    output_hat: Output,
    relation: Relation,
    weight: torch.Tensor | None = None,
    penalty: str | Gap = "squared",
    target: torch.Tensor | None = None,
) -> torch.Tensor:
    """The structure gap between two outputs of an encoder, averaged over their parts.

    An embedding [B, d] is one part, a global one. In [B, P, d] each of P places is a part, and the relation is taken there
    over the batch. Of a tuple each stage counts the same, however many places it has.

    Args:
        output: of real images: a tensor [B, d] or [B, P, d], or a tuple or list of those.
        output_hat: of denoised images, the same.
        relation: a callable as in `sadm.structure.relations`; one of your own is called for each place with [B, d].
        weight: of each image [B], >= 0; None = all equal.
        penalty: see `structure_gap`.
        target: affinities [B, B] that take the place of every part's real relation, in that relation's scale (see
            `label_affinity`, `attribute_affinity`); the denoised images are then held to them instead of to the real ones.

    Returns:
        A scalar >= 0, at least float32.

    Raises:
        StructureError: an output, relation or target of another kind or shape, or with NaN or infinite values.
    """
    stages, stages_hat = _stages(output, "real"), _stages(output_hat, "denoised")
    shapes, shapes_hat = ([tuple(stage.shape) for stage in side] for side in (stages, stages_hat))
    if shapes != shapes_hat:
        raise StructureError(
            f"the encoder gave other shapes for real than for denoised images: {_listed(shapes)} and {_listed(shapes_hat)}"
        )
    batch = shapes[0][0]
    if any(shape[0] != batch for shape in shapes):
        raise StructureError(f"the stages of an encoder must hold the same images; got shapes {_listed(shapes)}")
    if target is not None:
        _check_target(target, batch)
    gaps = []
    for stage, stage_hat in zip(stages, stages_hat, strict=True):
        real, denoised = _related(relation, stage, stage_hat)
        if target is not None:
            real = target.to(denoised).expand_as(denoised)
        gaps.append(structure_gap(real, denoised, weight, penalty))
    return torch.stack(gaps).mean()


def _stages(output: Output, side: str) -> list[torch.Tensor]:
    stages = [output] if isinstance(output, torch.Tensor) else output
    if not isinstance(stages, (tuple, list)) or not stages:
        given = "nothing" if isinstance(stages, (tuple, list)) else type(stages).__name__
        raise StructureError(
            f"expected an encoder's output of a tensor [B, d] or [B, P, d], or a tuple of those; got {given}"
        )
    for stage in stages:
        if not isinstance(stage, torch.Tensor) or not stage.is_floating_point():
            given = str(stage.dtype) if isinstance(stage, torch.Tensor) else type(stage).__name__
            raise StructureError(f"every part of an encoder's output must be a floating-point tensor; got {given}")
        if stage.ndim not in (2, 3) or not stage.shape[1:].numel():
            hint = ". For a feature map [B, C, H, W] return map.flatten(2).mT" if stage.ndim == 4 else ""
            raise StructureError(
                f"expected embeddings [B, d] or, at P places, [B, P, d]; the encoder gave {tuple(stage.shape)}{hint}"
            )
        if not bool(torch.isfinite(stage).all()):
            raise StructureError(f"the encoder's output for {side} images holds NaN or infinite values")
    return list(stages)


def _related(relation: Relation, stage: torch.Tensor, stage_hat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both relations, [B, B] of a stage [B, d] and [P, B, B] of a stage [B, P, d]."""
    if stage.ndim == 2:
        return _checked_pair(relation(stage, stage_hat), len(stage))
    places, places_hat = stage.transpose(0, 1), stage_hat.transpose(0, 1)  # [P, B, d]
    if relation in _TAKES_LEADING_DIMENSIONS:
        return relation(places, places_hat)
    pairs = [_checked_pair(relation(e, e_hat), len(stage)) for e, e_hat in zip(places, places_hat, strict=True)]
    return torch.stack([real for real, _ in pairs]), torch.stack([denoised for _, denoised in pairs])


def _checked_pair(pair: tuple[torch.Tensor, torch.Tensor], batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    if not isinstance(pair, tuple) or len(pair) != 2 or not all(isinstance(matrix, torch.Tensor) for matrix in pair):
        raise StructureError("a relation must return two matrices: (relation [B, B], relation_hat [B, B])")
    for matrix in pair:
        if matrix.shape != (batch, batch):
            raise StructureError(
                f"a relation of {batch} images must be [{batch}, {batch}]; it gave {tuple(matrix.shape)}"
            )
        if not bool(torch.isfinite(matrix).all()):
            raise StructureError("the relation holds NaN or infinite values")
    return pair


def _check_target(target: torch.Tensor, batch: int) -> None:
    if target.shape != (batch, batch):
        raise StructureError(
            f"expected a target of affinities [{batch}, {batch}], one for each pair of images; got {tuple(target.shape)}"
        )
    if not bool(torch.isfinite(target).all()):
        raise StructureError("the target holds NaN or infinite values")


def _listed(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join(map(str, shapes))
