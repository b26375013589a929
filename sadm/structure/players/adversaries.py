"""Discriminators made of the encoder itself: frozen, or ascending the gap."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from torch.func import functional_call

from sadm.structure.cache import EmbeddingCache
from sadm.structure.errors import StructureError
from sadm.structure.gap import Gap
from sadm.structure.parts import parts_gap
from sadm.structure.players.discriminator import (
    END,
    FREEZE,
    HALVE,
    ROLL_BACK,
    Probe,
    Sides,
    StructureDiscriminator,
    of_all,
)
from sadm.structure.players.independence import refuse_mixing
from sadm.structure.players.learning import LearningDiscriminator
from sadm.structure.players.outputs import Stages, pair_moments, relations_of, stages_of
from sadm.structure.players.updates import UpdateRule, Updates
from sadm.structure.relations import Relation

ASCENT_RULE = UpdateRule(learning_rate=2e-5)


class FrozenDiscriminator(StructureDiscriminator):
    """An encoder that stays as it is: no adversary, the relational control.

    It is put into eval mode. Real images are embedded once where their `index` is given; see `EmbeddingCache`.
    """

    ladder: ClassVar[tuple[str, ...]] = (HALVE, END)

    def __init__(
        self,
        encoder: nn.Module,
        relation: str | Relation = "cosine",
        penalty: str | Gap = "squared",
        memory: int = 0,
    ) -> None:
        super().__init__(encoder, relation, penalty, memory)
        encoder.eval().requires_grad_(False)
        refuse_mixing(self.suspects)
        self.cache = EmbeddingCache(encoder)

    def _embed(self, x0: torch.Tensor, leaf: torch.Tensor, index: torch.Tensor | None) -> tuple[Stages, Stages]:
        return self.cache.through(index, x0, self._real), stages_of(self.encoder(leaf), len(leaf))

    @torch.no_grad()
    def _real(self, x0: torch.Tensor) -> Stages:
        # Contiguous, as the cache's are: sums over another layout differ in their last digits.
        return tuple(stage.contiguous() for stage in stages_of(self.encoder(x0), len(x0)))

    def _judge(self, sides: Sides) -> tuple[torch.Tensor, torch.Tensor | None]:
        gap = parts_gap(sides.stages, sides.stages_hat, self.relation, sides.weight, self.penalty, target=sides.target)
        return gap, torch.autograd.grad(gap, sides.leaf, allow_unused=True)[0]


class AscendingDiscriminator(LearningDiscriminator):
    """An encoder that ascends the gap while the denoiser descends it: reading (a), figure 3 of arXiv 2402.17563.

    With target affinities it ascends ``gap(target, R_hat) - gap(target, R)``: it is to see that denoised images miss the target
    and that real ones meet it; without the second term it would gain by missing the target altogether.

    R1 is ``r1 / 2 * mean_i |B d objective / d x0_i|^2``, at the real *images*, B since the gap is a mean over B of them. A
    penalty at the embeddings would be blind to what the encoder does before them, and an encoder that scales its embeddings up
    would escape it under relations that ignore their length, such as cosines.

    Args:
        encoder: changed in place.
        relation: with r1, one that can be differentiated twice.
        penalty: see `structure_gap`.
        memory: see `Memory`.
        rule: how it learns.

    Raises:
        StructureError: what the base refuses, no trainable parameters, or r1 with a relation without second derivatives.
    """

    ladder = (HALVE, FREEZE, ROLL_BACK, END)

    def __init__(
        self,
        encoder: nn.Module,
        relation: str | Relation = "cosine",
        penalty: str | Gap = "squared",
        memory: int = 0,
        rule: UpdateRule = ASCENT_RULE,
    ) -> None:
        super().__init__(encoder, relation, penalty, memory)
        refuse_mixing(self.suspects)
        if rule.r1:
            _refuse_without_second_derivative(self.relation, penalty)
        self.updates = Updates(encoder, rule)

    def roll_back(self) -> None:
        self.updates.roll_back()
        self.memory.clear()  # its embeddings are those of the weights that were given up

    def _embed(self, x0: torch.Tensor, leaf: torch.Tensor, index: torch.Tensor | None) -> tuple[Stages, Stages]:
        if not self.updates.due:
            return super()._embed(x0, leaf, index)
        # One pass serves both players.
        x0.requires_grad_(self.updates.rule.r1 > 0)
        both = stages_of(self.encoder(torch.cat([x0, leaf])), 2 * len(x0))
        return tuple(stage[: len(x0)] for stage in both), tuple(stage[len(x0) :] for stage in both)

    def _judge(self, sides: Sides) -> tuple[torch.Tensor, torch.Tensor | None]:
        gap = self._gap(sides.stages, sides.stages_hat, sides)
        if not self.updates.due:
            return gap, torch.autograd.grad(gap, sides.leaf, allow_unused=True)[0]
        parameters, r1 = self.updates.parameters, self.updates.rule.r1
        if sides.target is None and not r1:
            gradient, *ascent = torch.autograd.grad(gap, [sides.leaf, *parameters], allow_unused=True)
            self._gradients = [None if g is None else -g for g in ascent]  # the optimiser descends: -gap
            return gap, gradient
        (gradient,) = torch.autograd.grad(gap, sides.leaf, retain_graph=True, allow_unused=True)
        loss = -gap
        if sides.target is not None:
            loss = loss + self._gap(sides.stages, sides.stages, sides)
        if r1:
            (at_real,) = torch.autograd.grad(loss, sides.x0, create_graph=True)
            # At this process's images, N times the gradient of the one loss; and of the penalties, the mean will be taken.
            part, images = sides.part, at_real[: sides.part.size] / sides.part.processes.count
            loss = loss + r1 / 2 * part.processes.count * part.whole * images.square().sum()
        self._gradients = list(torch.autograd.grad(loss, parameters, allow_unused=True))
        return gap, gradient

    def _gap(self, stages: Stages, stages_hat: Stages, sides: Sides) -> torch.Tensor:
        return parts_gap(stages, stages_hat, self.relation, sides.weight, self.penalty, target=sides.target)

    def _probe(self, sides: Sides) -> Probe:
        start = {
            name: value.to(parameter)  # the encoder may have been moved since
            for (name, parameter), value in zip(self.updates.named.items(), self.updates.start, strict=True)
        }
        both = functional_call(self.encoder, start, (torch.cat([sides.x0, sides.leaf]),))
        stages = stages_of(both, 2 * len(sides.x0))
        both_sides = (tuple(side) for side in zip(*(stage.chunk(2) for stage in stages), strict=True))
        real, denoised = (of_all(side, sides.part) for side in both_sides)
        return Probe(
            gap=self._gap(sides.stages, sides.stages_hat, sides),
            gap_start=self._gap(real, denoised, sides),
            moments_start=pair_moments(*relations_of(real, denoised, self.relation)),
        )


def _refuse_without_second_derivative(relation: Relation, penalty: str | Gap) -> None:
    points, others = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    points.requires_grad_()
    try:
        gap = parts_gap((points,), (others,), relation, penalty=penalty)
        (slope,) = torch.autograd.grad(gap, points, create_graph=True)
        torch.autograd.grad(slope.square().sum(), points)
    except RuntimeError as error:
        raise StructureError(
            f"r1 needs a relation and a penalty that can be differentiated twice, and these can't ({error}). Use relation "
            "'cosine' with penalty 'squared' or 'huber', or r1=0"
        ) from error
