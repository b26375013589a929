"""What every structure discriminator does: embed, relate, and hand each player its gradient.

The kinds differ in who judges: see `sadm.structure.players.adversaries` (an encoder, ascending or frozen) and
`sadm.structure.players.classifier` (a classifier of relation matrices).
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from sadm.structure.errors import StructureError
from sadm.structure.gap import PENALTIES, Gap
from sadm.structure.players.independence import refuse_mixing, suspects
from sadm.structure.players.memory import Memory
from sadm.structure.players.outputs import Stages, pair_moments, relations_of, stages_of
from sadm.structure.processes import ALONE, Part, Processes
from sadm.structure.relations import RELATIONS, Relation

HALVE, FREEZE, ROLL_BACK, END = (
    "halved the ratio",
    "froze the discriminator",
    "rolled the discriminator back",
    "ended the game",
)


@dataclasses.dataclass(frozen=True)
class Probe:
    """The same images as an ascending encoder sees them now and as it saw them at its start.

    Attributes:
        gap: now, a scalar.
        gap_start: as the starting weights see it, a scalar.
        moments_start: as the starting weights see it; see `pair_moments`.
    """

    gap: torch.Tensor
    gap_start: torch.Tensor
    moments_start: torch.Tensor


@dataclasses.dataclass(frozen=True)
class Measured:
    """What one pass gives.

    Attributes:
        gap: what the denoiser descends, a scalar.
        gradient: ``d gap / d x0_hat`` [B, C, H, W] at the images of this process, times the number of processes.
        moments: of the relations of the present images; see `pair_moments`.
        sensitivity: ``sum_i |gradient_i| |x0_hat_i| / gap``, by how much of itself the gap would change if images changed by
            their own size, a scalar; 1 where the gap is 0.
        probe: where it was asked for and the encoder changes.
        problem: what is not finite; None = all is well. The other fields mean nothing then.
    """

    gap: torch.Tensor
    gradient: torch.Tensor
    moments: torch.Tensor
    sensitivity: torch.Tensor
    probe: Probe | None = None
    problem: str | None = None


@dataclasses.dataclass(frozen=True)
class Sides:
    """What is judged: n images, the present ones of all processes first, then those of the memory.

    Attributes:
        x0: present real images of this process [B, C, H, W].
        leaf: its present denoised images [B, C, H, W], the leaf of the gradient.
        stages: of real images, each [n, ...].
        stages_hat: of denoised images, each [n, ...].
        weight: [n].
        target: affinities in place of the real relation of the present images, or None.
        part: which of them are this process's.
    """

    x0: torch.Tensor
    leaf: torch.Tensor
    stages: Stages
    stages_hat: Stages
    weight: torch.Tensor
    target: torch.Tensor | None
    part: Part


class StructureDiscriminator(abc.ABC):
    """The protocol of all kinds, and what they share.

    A play is `gap_and_gradient` and then `learn`, which alone changes anything; a play that is given up leaves it out.

    Args:
        encoder: module from [B, C, H, W] to [B, d], [B, P, d] or a tuple of those.
        relation: a name in `RELATIONS`, or a callable of that shape.
        penalty: see `structure_gap`.
        memory: past images that join the relation; 0 = none.

    Raises:
        StructureError: an unknown name, or an encoder that mixes images, is random, or is in float16.
    """

    ladder: ClassVar[tuple[str, ...]]
    """What a watchdog can do about this kind, mildest first."""
    learns: ClassVar[bool] = False
    """Whether something of it changes while it plays."""

    def __init__(
        self,
        encoder: nn.Module,
        relation: str | Relation = "cosine",
        penalty: str | Gap = "squared",
        memory: int = 0,
    ) -> None:
        if isinstance(relation, str) and relation not in RELATIONS:
            raise StructureError(
                f"unknown relation {relation!r}; expected one of {', '.join(RELATIONS)}, or a callable"
            )
        if isinstance(penalty, str) and penalty not in PENALTIES:
            raise StructureError(f"unknown penalty {penalty!r}; expected one of {', '.join(PENALTIES)}, or a callable")
        if any(p.dtype == torch.float16 for p in encoder.parameters()):
            raise StructureError(
                "the encoder's weights are float16, where the gap's gradient rounds to nothing; convert it with .float()"
            )
        self.encoder = encoder
        self.relation = RELATIONS[relation] if isinstance(relation, str) else relation
        self.penalty = penalty
        self.memory = Memory(memory)
        self.suspects = suspects(encoder)
        self._seen: tuple[Stages, Stages, torch.Tensor] | None = None
        self._gradients: list[torch.Tensor | None] | None = None
        self._processes = ALONE

    def gap_and_gradient(
        self,
        x0: torch.Tensor,
        x0_hat: torch.Tensor,
        weight: torch.Tensor | None = None,
        *,
        target: torch.Tensor | None = None,
        index: torch.Tensor | None = None,
        probe: bool = False,
        part: Part | None = None,
    ) -> Measured:
        """The gap and its gradient at x0_hat; what the adversary would learn from it waits for `learn`.

        Args:
            x0: real images [B, C, H, W].
            x0_hat: denoised images [B, C, H, W]; the graph behind them is not touched.
            weight: of each image [B]; None = all equal.
            target: affinities [B, B] that take the place of the real images' relation; see `parts_gap`.
            index: of each image in the training set [B]; lets a frozen encoder embed each real image once.
            probe: also see the images through the starting weights, where there is an ascending encoder.
            part: these images are one process's part of a batch, to which `weight` and `target` then belong as a whole; a
                process without an image of it gives one that does not count. None = they are all.

        Raises:
            StructureError: an encoder or a relation that does not fit, or a target together with a memory.
        """
        self._forget()  # what a play that was given up has left
        refuse_mixing(self.suspects)
        if target is not None and self.memory.capacity:
            raise StructureError("target affinities [B, B] know nothing of past images: use memory=0 with a target")
        dtype, part = self._dtype(x0), part or Part.alone(len(x0))
        self._processes = part.processes
        real, leaf = x0.detach().to(dtype), x0_hat.detach().to(dtype).requires_grad_()
        # Relations and distances lose their digits in half precision, so autocast stops at this door.
        with torch.enable_grad(), torch.autocast(x0.device.type, enabled=False):
            stages, stages_hat = self._embed(real, leaf, index)
            if not any(stage.requires_grad for stage in stages_hat):
                raise StructureError("the encoder's output does not depend on its input")
            problem = self._problem({"the encoder's output": [*stages, *stages_hat]}, leaf.device)
            if problem is not None:
                return _broken(problem, leaf)
            stages, stages_hat = of_all(stages, part), of_all(stages_hat, part)
            weight = stages[0].new_ones(part.whole) if weight is None else weight.detach()
            joined = self.memory.join(stages, stages_hat, weight)
            gap, gradient = self._judge(Sides(real, leaf, *joined, target, part))
            if gradient is None:
                raise StructureError("the encoder's output does not depend on its input")
        self._seen = tuple(s.detach() for s in stages), tuple(s.detach() for s in stages_hat), weight
        learnt = [g for g in self._gradients or [] if g is not None]
        measured = {"the structure gap": [gap], "its gradient": [gradient], "the adversary's gradient": learnt}
        problem = self._problem(measured, leaf.device)
        if problem is not None:
            return _broken(problem, leaf)
        with torch.no_grad(), torch.autocast(x0.device.type, enabled=False):
            moments = pair_moments(*relations_of(*self._seen[:2], self.relation))
            seen = self._probe(Sides(real, leaf.detach(), *self._seen, target, part)) if probe else None
            sensitivity = _sensitivity(gap, gradient[: part.size], leaf[: part.size], part.processes)
        return Measured(gap.detach(), gradient[: part.size], moments, sensitivity, seen)

    def learn(self) -> None:
        """Ends the play: the adversary takes its step, and the memory its images."""
        if self._seen is not None:
            self.memory.remember(*self._seen)
        self._forget()

    def healthy(self) -> bool:
        """Whether all that learns is finite."""
        return True

    def freeze(self) -> None:
        """Ends the learning for good."""
        raise NotImplementedError(f"{type(self).__name__} does not learn")

    def roll_back(self) -> None:
        """Returns to the starting weights, for good."""
        raise NotImplementedError(f"{type(self).__name__} has no starting weights to return to")

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on."""
        return {"encoder": self.encoder.state_dict(), "memory": self.memory.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave.

        Raises:
            StructureError: it is of a discriminator that learns and this one does not, or the other way round.
        """
        if self.learns != ("updates" in state):
            others = "nobody plays (adversary 'frozen')" if self.learns else "the adversary learns"
            raise StructureError(f"this is the state of a game in which {others}; load it into one of that kind")
        self.encoder.load_state_dict(state["encoder"])
        self.memory.load_state_dict(state["memory"])

    @abc.abstractmethod
    def _judge(self, sides: Sides) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The gap and its gradient at the leaf; leaves the adversary's gradients in `_gradients`."""

    def _problem(self, tensors: Mapping[str, Sequence[torch.Tensor]], device: torch.device) -> str | None:
        """What is not finite, in any process; None = all is well."""
        place = 0
        if not all_finite(*(tensor for group in tensors.values() for tensor in group)):  # the device is asked once
            place = next(number for number, group in enumerate(tensors.values(), 1) if not all_finite(*group))
        found = self._processes.highest(place, device)
        return [*tensors][found - 1] if found else None

    def _forget(self) -> None:
        self._seen, self._gradients = None, None

    def _embed(self, x0: torch.Tensor, leaf: torch.Tensor, index: torch.Tensor | None) -> tuple[Stages, Stages]:
        with torch.no_grad():
            stages = stages_of(self.encoder(x0), len(x0))
        return stages, stages_of(self.encoder(leaf), len(leaf))

    def _probe(self, sides: Sides) -> Probe | None:
        return None

    def _dtype(self, x0: torch.Tensor) -> torch.dtype:
        own = next((p.dtype for p in self.encoder.parameters()), None)
        return own or torch.promote_types(x0.dtype, torch.float32)


def all_finite(*tensors: torch.Tensor) -> bool:
    """Whether no tensor holds NaN or infinite values; asks the device once."""
    # The largest magnitude is NaN or infinite where any element is, and is found several times faster than by isfinite.
    largest = [torch.linalg.vector_norm(t.detach(), torch.inf) for t in tensors if t.is_floating_point() and t.numel()]
    return not largest or bool(torch.stack(largest).isfinite().all())


def _broken(problem: str, leaf: torch.Tensor) -> Measured:
    nothing = torch.full((), torch.nan, device=leaf.device)
    return Measured(nothing, torch.zeros_like(leaf).detach(), nothing.expand(6), nothing, problem=problem)


def of_all(stages: Stages, part: Part) -> Stages:
    """The stages of all processes' images; a process without one has given one that does not count."""
    return tuple(part.rows(stage[: part.size]) for stage in stages)


def _sensitivity(gap: torch.Tensor, gradient: torch.Tensor, x0_hat: torch.Tensor, processes: Processes) -> torch.Tensor:
    gap, gradient, x0_hat = gap.detach(), gradient.detach().to(gap.dtype), x0_hat.detach().to(gap.dtype)
    change = processes.sum((gradient.flatten(1).norm(dim=1) * x0_hat.flatten(1).norm(dim=1)).sum()) / processes.count
    return torch.where(gap > 0, change / gap.clamp_min(torch.finfo(gap.dtype).tiny), torch.ones_like(gap))
