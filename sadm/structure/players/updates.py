"""The adversary's side of the game: how it learns, and what bounds it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from sadm.structure.errors import StructureError
from sadm.structure.players.spectral import SpectralBound


@dataclasses.dataclass(frozen=True)
class UpdateRule:
    """How an adversary learns.

    Attributes:
        learning_rate: of its Adam, > 0.
        pull: strength of the pull to the starting weights, ``pull / 2 |w - w_start|^2``, >= 0.
        r1: strength of the penalty on its gradient at real data (Mescheder et al. 2018, arXiv 1801.04406), >= 0.
        spectral_bound: see `SpectralBound`; None = no bound.
        every: it learns in every k-th play only.

    Raises:
        StructureError: a value out of range.
    """

    learning_rate: float
    pull: float = 0.0
    r1: float = 0.0
    spectral_bound: float | None = None
    every: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < float("inf"):
            raise StructureError(f"learning_rate must be positive, got {self.learning_rate}")
        for name in ("pull", "r1"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise StructureError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not isinstance(self.every, int) or self.every < 1:
            raise StructureError(f"update_every must be a whole number of plays, at least 1, got {self.every}")


class Updates:
    """Optimiser, pull, bound, starting point and clock of one adversary.

    Args:
        module: what learns; its parameters that require gradients.
        rule: how.

    Raises:
        StructureError: nothing to train, or weights in half precision, where small steps are lost in rounding.
    """

    def __init__(self, module: nn.Module, rule: UpdateRule) -> None:
        self.named = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.parameters = list(self.named.values())
        if not self.parameters:
            raise StructureError("the adversary has no trainable parameters; use adversary 'frozen'")
        for name, parameter in self.named.items():
            if parameter.dtype not in (torch.float32, torch.float64):
                raise StructureError(
                    f"the adversary's parameter '{name}' is {parameter.dtype}: its small steps would be lost in rounding. "
                    "Convert it with .float(), or use adversary 'frozen'"
                )
        self.rule = rule
        self.start = [p.detach().clone() for p in self.parameters]
        self.optimiser = torch.optim.Adam(self.parameters, lr=rule.learning_rate, fused=True)
        bound = rule.spectral_bound
        self.bound = None if bound is None else SpectralBound(self.parameters, bound)
        self.plays = 0
        self.frozen = False

    @property
    def due(self) -> bool:
        """Whether the adversary learns in this play."""
        return not self.frozen and self.plays % self.rule.every == 0

    def step(self, gradients: Sequence[torch.Tensor | None] | None) -> None:
        """Ends a play: descends along the gradients, one for each parameter; None in a play without learning."""
        self.plays += 1
        if gradients is None:
            return
        for parameter, start, gradient in zip(self.parameters, self.start, gradients, strict=True):
            parameter.grad = gradient
            if gradient is not None and self.rule.pull:
                parameter.grad = gradient.add(parameter.detach() - start.to(parameter), alpha=self.rule.pull)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        if self.bound is not None:
            self.bound.project()

    def healthy(self) -> bool:
        """Whether all weights are finite."""
        return bool(torch.stack([p.detach().isfinite().all() for p in self.parameters]).all())

    def freeze(self) -> None:
        """Ends the learning for good."""
        self.frozen = True
        for parameter in self.parameters:
            parameter.requires_grad_(False)

    @torch.no_grad()
    def roll_back(self) -> None:
        """Returns to the starting weights and freezes them."""
        for parameter, start in zip(self.parameters, self.start, strict=True):
            parameter.copy_(start)
        self.freeze()

    def state_dict(self) -> dict[str, Any]:
        """Optimiser, starting point, bound and clock; the weights themselves belong to the module."""
        return {
            "optimiser": self.optimiser.state_dict(),
            "start": list(self.start),
            "bound": None if self.bound is None else self.bound.state_dict(),
            "plays": self.plays,
            "frozen": self.frozen,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        self.optimiser.load_state_dict(state["optimiser"])
        for own, saved in zip(self.start, state["start"], strict=True):
            own.copy_(saved)
        if self.bound is not None:
            self.bound.load_state_dict(state["bound"])
        self.plays, self.frozen = int(state["plays"]), bool(state["frozen"])
        for parameter in self.parameters:
            parameter.requires_grad_(not self.frozen)
