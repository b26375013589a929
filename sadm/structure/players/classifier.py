"""Reading (b): a classifier judges whether a relation matrix is one of real images, and the denoiser fools it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from sadm.structure.errors import StructureError
from sadm.structure.players.adversaries import FrozenDiscriminator
from sadm.structure.players.discriminator import END, FREEZE, HALVE, Sides
from sadm.structure.players.independence import suspects
from sadm.structure.players.learning import LearningDiscriminator
from sadm.structure.players.outputs import relations_of
from sadm.structure.players.updates import UpdateRule, Updates
from sadm.structure.relations import Relation

CLASSIFIER_RULE = UpdateRule(learning_rate=1e-3)
GROUP = 8
"""Images that it judges at a time."""


class RelationClassifier(nn.Module):
    """Relation matrices to logits, whatever the order of the images and however many there are.

    Each pair (i, j) has features, which blocks of message passing refine: over third images k as ``sum_k a_ik b_kj / n``, as in
    Maron et al. 2019 (arXiv 1905.11136), and over the pairs that share an image. The readout is the mean over pairs and over
    the diagonal. So a permutation of the images permutes the features and leaves the logit alone.

    Args:
        width: features of a pair.
        blocks: rounds of message passing.

    Raises:
        StructureError: a size below 1.
    """

    def __init__(self, width: int = 16, blocks: int = 2) -> None:
        super().__init__()
        if min(width, blocks) < 1:
            raise StructureError(f"width and blocks must be at least 1, got {width} and {blocks}")
        self.lift = nn.Linear(3, width)
        self.blocks = nn.ModuleList(_PairBlock(width) for _ in range(blocks))
        self.judge = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, 1))

    def forward(self, relation: torch.Tensor) -> torch.Tensor:
        """Logits [N] of matrices [N, n, n], n >= 2; above 0 = real."""
        if relation.ndim != 3 or relation.shape[1] != relation.shape[2] or relation.shape[1] < 2:
            raise StructureError(f"expected relation matrices [N, n, n] of n >= 2 images, got {tuple(relation.shape)}")
        size = relation.shape[1]
        itself = torch.eye(size, dtype=relation.dtype, device=relation.device)  # [n, n]
        pairs = self.lift(torch.stack([relation, relation.mT, itself.expand_as(relation)], dim=-1))  # [N, n, n, c]
        for block in self.blocks:
            pairs = block(pairs)
        diagonal = pairs.diagonal(dim1=1, dim2=2).mT  # [N, n, c]
        others = (pairs.sum((1, 2)) - diagonal.sum(1)) / (size * (size - 1))  # [N, c]
        return self.judge(torch.cat([others, diagonal.mean(1)], dim=1)).squeeze(1)  # [N]


class _PairBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.update = nn.Sequential(nn.Linear(4 * width, width), nn.SiLU(), nn.Linear(width, width))
        self.norm = nn.LayerNorm(width)

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        paths = torch.einsum("bikc,bkjc->bijc", self.first(pairs), self.second(pairs)) / pairs.shape[1]  # [N, n, n, c]
        rows, columns = pairs.mean(2, keepdim=True), pairs.mean(1, keepdim=True)  # [N, n, 1, c] and [N, 1, n, c]
        message = self.update(torch.cat([pairs, paths, rows.expand_as(pairs), columns.expand_as(pairs)], dim=-1))
        return self.norm(pairs + message)


class ClassifyingDiscriminator(LearningDiscriminator, FrozenDiscriminator):
    """A frozen encoder's relation matrices before a classifier that learns to tell real from denoised ones.

    One matrix of each kind a step is too little to learn from, so both sides are cut into the same random groups of images; a
    last group that is short is filled up with images of others. The classifier descends the logistic loss, with R1 (Mescheder
    et al. 2018) at real matrices; the gap that the denoiser descends is the non-saturating loss ``-log sigmoid(logit)`` of
    denoised matrices (Goodfellow et al. 2014), ln 2 where they pass for real. Each group counts by its images' mean weight.
    Unlike the gap of relations this one does not ask for the *same* structure, image by image, but for one that real images
    might have. Several parts of an encoder (stages, places) give a matrix each.

    Args:
        encoder: frozen here.
        relation: see `sadm.structure.relations`.
        memory: past images; they fill groups with present ones.
        rule: how the classifier learns.
        group: images in a group; a smaller batch is one group.
        classifier: [N, n, n] to [N]; None = a new `RelationClassifier`.
        seed: of the groups, and of a new classifier's weights.

    Raises:
        StructureError: what the base refuses, or a group of fewer than 2 images.
    """

    ladder = (HALVE, FREEZE, END)  # an untrained classifier is nothing to go back to

    def __init__(
        self,
        encoder: nn.Module,
        relation: str | Relation = "cosine",
        memory: int = 0,
        rule: UpdateRule = CLASSIFIER_RULE,
        group: int = GROUP,
        classifier: nn.Module | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(encoder, relation, memory=memory)
        if not isinstance(group, int) or group < 2:
            raise StructureError(f"group must be a number of images, at least 2, got {group}")
        if classifier is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                classifier = RelationClassifier()
        own = next(encoder.parameters(), torch.empty(0))
        self.classifier = classifier.to(own.device, torch.promote_types(own.dtype, torch.float32))
        self.suspects = [*self.suspects, *suspects(classifier)]
        self.updates = Updates(self.classifier, rule)
        self.group, self.seed = group, seed

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "classifier": self.classifier.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.classifier.load_state_dict(state["classifier"])

    def _judge(self, sides: Sides) -> tuple[torch.Tensor, torch.Tensor | None]:
        if sides.target is not None:
            raise StructureError(
                "adversary 'classify' can't use target affinities: they are told from any relation of images at a glance"
            )
        relation, relation_hat = relations_of(sides.stages, sides.stages_hat, self.relation)  # [K, n, n] each
        self.classifier.to(relation.device)  # an encoder without parameters does not say where it is before it is asked
        groups = self._groups(len(sides.weight)).to(relation.device)  # [G, g]
        weight = sides.weight.to(relation.dtype)[groups].mean(1).repeat(len(relation))  # [K G]
        logits_hat = self.classifier(_cut(relation_hat, groups))  # [K G]
        gap = _mean(F.softplus(-logits_hat), weight)
        due = self.updates.due
        (gradient,) = torch.autograd.grad(gap, sides.leaf, retain_graph=due, allow_unused=True)
        if due:
            loss = _mean(F.softplus(logits_hat), weight) + self._loss_of_real(_cut(relation, groups), weight)
            self._gradients = list(torch.autograd.grad(loss, self.updates.parameters, allow_unused=True))
        return gap, gradient

    def _loss_of_real(self, matrices: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        r1 = self.updates.rule.r1
        matrices = matrices.detach().requires_grad_(r1 > 0)  # [K G, g, g]
        logits = self.classifier(matrices)
        loss = _mean(F.softplus(-logits), weight)
        if r1:
            (slope,) = torch.autograd.grad(logits.sum(), matrices, create_graph=True)
            loss = loss + r1 / 2 * _mean(slope.square().sum((1, 2)), weight)
        return loss

    def _groups(self, images: int) -> torch.Tensor:
        size = min(self.group, images)
        # Drawn on the CPU from seed and play: the same on every device, and nothing to store.
        draws = torch.Generator().manual_seed((self.seed * 1_000_003 + self.updates.plays) % 2**32)
        order, count = torch.randperm(images, generator=draws), -(-images // size)
        return order[torch.arange(count * size) % images].reshape(count, size)


def _cut(relation: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    return relation[:, groups[:, :, None], groups[:, None, :]].flatten(0, 1)  # [K, n, n] to [K G, g, g]


def _mean(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return (weight * values).sum() / weight.sum().clamp_min(torch.finfo(values.dtype).tiny)
