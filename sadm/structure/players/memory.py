"""A bounded memory of past pairs, so that small batches have more to be related to."""

from __future__ import annotations

from typing import Any

import torch

from sadm.structure.errors import StructureError
from sadm.structure.players.outputs import Stages


class Memory:
    """Embeddings of the latest real and denoised images, detached, with their weights; the newest come first.

    The embeddings are those of the encoder as it was then: with an ascending encoder they age, so keep the memory short
    against the speed at which it learns. With a frozen one they are exact.

    Args:
        capacity: images kept, >= 0; 0 = no memory.

    Raises:
        StructureError: a capacity that is negative or not an integer.
    """

    def __init__(self, capacity: int) -> None:
        if not isinstance(capacity, int) or capacity < 0:
            raise StructureError(f"memory must be a number of images, at least 0, got {capacity}")
        self.capacity = capacity
        self.clear()

    def __len__(self) -> int:
        return len(self.weight) if self.weight is not None else 0

    def clear(self) -> None:
        """Forgets everything."""
        self.real: Stages = ()
        self.denoised: Stages = ()
        self.weight: torch.Tensor | None = None

    def join(self, stages: Stages, stages_hat: Stages, weight: torch.Tensor) -> tuple[Stages, Stages, torch.Tensor]:
        """Present images, then past ones: stages [B + n, ...], stages_hat [B + n, ...] and weight [B + n].

        Raises:
            StructureError: embeddings of other shapes than those kept.
        """
        if self.weight is None:
            return stages, stages_hat, weight
        shapes, past = ([tuple(stage.shape[1:]) for stage in side] for side in (stages, self.real))
        if shapes != past:
            raise StructureError(
                f"the memory holds embeddings of shape {past}, these are {shapes}: it needs images of one size. Use memory=0"
            )
        return (
            tuple(_cat(now, then) for now, then in zip(stages, self.real, strict=True)),
            tuple(_cat(now, then) for now, then in zip(stages_hat, self.denoised, strict=True)),
            _cat(weight, self.weight),
        )

    def remember(self, stages: Stages, stages_hat: Stages, weight: torch.Tensor) -> None:
        """Adds pairs, and forgets the oldest beyond the capacity."""
        if self.capacity == 0:
            return
        detached = tuple(s.detach() for s in stages), tuple(s.detach() for s in stages_hat), weight.detach()
        real, denoised, weights = self.join(*detached)
        # Clones: a slice would keep the whole joined tensor alive.
        self.real, self.denoised = (tuple(s[: self.capacity].clone() for s in side) for side in (real, denoised))
        self.weight = weights[: self.capacity].clone()

    def state_dict(self) -> dict[str, Any]:
        """What is kept."""
        weight = [] if self.weight is None else [self.weight]
        return {"real": list(self.real), "denoised": list(self.denoised), "weight": weight}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        self.real, self.denoised = tuple(state["real"]), tuple(state["denoised"])
        self.weight = state["weight"][0] if state["weight"] else None


def _cat(now: torch.Tensor, then: torch.Tensor) -> torch.Tensor:
    return torch.cat([now, then.to(now.device)])  # a memory from a checkpoint lies on the CPU
