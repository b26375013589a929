"""What is compared: signals, strategies, batches, micro-batches, clipping; each in float64 over a few steps of a tiny network."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

STEPS = 20
SIGNALS: dict[str, dict[str, Any]] = {
    "none": {"signal": "none"},
    "game, ascending": {"signal": "structure", "structure": {"adversary": "ascend", "learning_rate": 1e-3, "r1": 0.1}},
    "game, classifier": {"signal": "structure", "structure": {"adversary": "classify", "learning_rate": 1e-3}},
    "game, frozen, with a memory": {"signal": "structure", "structure": {"adversary": "frozen", "memory": 12}},
    "hidden": {"signal": "hidden", "structure": {"every": 2}},
    "features": {"signal": "features"},
    "dispersive": {"signal": "dispersive"},
    "contrastive": {"signal": "contrastive"},
    "repa": {"signal": "repa"},
}
ENCODER = {"encoder_steps": 4, "encoder_width": 4, "encoder_embedding": 8, "encoder_batch": 8}
FEW = {"fraction": 0.1, "encoder_kind": "vit"}
"""So that of the two images that take part, a process often has none; this encoder takes no empty batch."""
OF_FEW: dict[str, dict[str, Any]] = {
    "features, few": {"signal": "features", "structure": FEW},
    "game, few": {"signal": "structure", "structure": FEW},
}
QUICK = ("game, ascending", "hidden")


@dataclasses.dataclass(frozen=True)
class Case:
    """One comparison of N processes with one.

    Attributes:
        signal: a key of `SIGNALS` or `OF_FEW`.
        strategy: see `ParallelConfig`.
        batch: images of a step, over all processes.
        clip: largest norm of the gradient; None = no clipping.
        accumulate: micro-batches of N processes; one process takes the whole batch at once, and they relate it exactly.
    """

    signal: str
    strategy: str = "ddp"
    batch: int = 12
    clip: float | None = None
    accumulate: int = 1

    @property
    def name(self) -> str:
        """A name for people and files."""
        cut = f", {self.accumulate} micro-batches" if self.accumulate > 1 else ""
        clipped = "clipped" if self.clip else "not clipped"
        return f"{self.signal}, {self.strategy}, batch {self.batch}, {clipped}{cut}"

    def settings(self, processes: int) -> dict[str, Any]:
        """The run's configuration."""
        cut = {"accumulate": self.accumulate, "exact": self.accumulate > 1} if processes > 1 else {}
        own = {**SIGNALS, **OF_FEW}[self.signal]
        return {
            **own,
            "structure": {**ENCODER, **own.get("structure", {})},
            "seed": 3,
            "data": {"source": "digits", "limit": 60},
            "net": {"width": 16, "depth": 2, "heads": 2, "patch": 2},
            "optimiser": {
                "steps": STEPS,
                "batch": self.batch,
                "warmup_steps": 2,
                "clip": self.clip,
                "learning_rate": 3e-3,
            },
            "parallel": {"strategy": self.strategy, **cut},
            "device": "cpu",
        }


def reference(case: Case) -> Case:
    """The case that one process runs: it depends neither on the strategy nor on micro-batches."""
    return dataclasses.replace(case, strategy="ddp", accumulate=1)


def all_cases() -> list[Case]:
    """Every case of the long form: batches that three processes can't share evenly among them."""
    base = [Case(signal, strategy) for signal, strategy in itertools.product(SIGNALS, ("ddp", "fsdp"))]
    uneven = [Case(signal, batch=13, clip=0.05) for signal in SIGNALS]
    clipped = [Case(signal, "fsdp", batch=13, clip=0.05) for signal in QUICK]
    cut = [Case(signal, strategy, batch=13, accumulate=3) for signal in SIGNALS for strategy in ("ddp",)]
    return [*base, *uneven, *clipped, *cut, Case("hidden", "fsdp", accumulate=2), Case("hidden", "hybrid")]


def quick_cases() -> list[Case]:
    """Those of the short form and of the tests."""
    return [
        *(Case(signal, clip=0.05) for signal in QUICK),
        *(Case(signal, "fsdp", batch=13) for signal in QUICK),
        *(Case(signal, batch=13, accumulate=2) for signal in QUICK),
        *(Case(signal) for signal in OF_FEW),
    ]
