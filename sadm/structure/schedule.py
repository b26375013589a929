"""When the game is played."""

from __future__ import annotations

import dataclasses

from sadm.structure.errors import StructureError


@dataclasses.dataclass(frozen=True)
class Schedule:
    """When the game is played, in steps: linear warm-up of its strength, then full strength, then an end.

    Attributes:
        warmup: steps over which the ratio grows from 0.
        end: first step without the game; None = never ends.

    Raises:
        StructureError: a negative number of steps.
    """

    warmup: int = 0
    end: int | None = None

    def __post_init__(self) -> None:
        if not self.warmup >= 0 or not (self.end is None or self.end >= 0):
            raise StructureError(f"warmup and end are steps, at least 0; got {self.warmup} and {self.end}")

    def strength(self, step: int, every: int = 1) -> float:
        """In [0, 1]; 0 = rest, which costs nothing: after the end, and in all but each `every`-th step."""
        if step % every or (self.end is not None and step >= self.end):
            return 0.0
        return min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0


ALWAYS = Schedule()
