"""The regimes, the seeds and the arms, fixed before the search. Changing a line here makes earlier results void."""

from __future__ import annotations

import dataclasses
from typing import Any

SEARCH_SEEDS = (0, 1, 2)
REPORT_SEEDS = (100, 101, 102, 103, 104)
SIDE = 8
"""Resolution of the Fashion-MNIST regimes on two cores; the recipe of that size gives network and schedule."""

FEW = {
    "9 NFE": {"steps": 9, "sigma_min": 0.02, "sigma_max": 20.0},
    "5 NFE": {"steps": 5, "sigma_min": 0.1, "sigma_max": 20.0},
}
"""Few-step grids, tuned on plain models of search seeds."""

ARMS: dict[str, dict[str, Any]] = {
    "plain": {"signal": "none"},
    "sadm": {"signal": "structure"},
    "frozen": {"signal": "structure", "structure": {"adversary": "frozen"}},
    "classify": {"signal": "structure", "structure": {"adversary": "classify"}},
    "hidden": {"signal": "hidden"},
}
"""Plain; the paper's game, the default of its readings (`sadm`), and the two others; structure between hidden activations.
Regime B trains all, A the three that a comparison trains by default, the others plain and what measured best in the search."""


@dataclasses.dataclass(frozen=True)
class Regime:
    """One regime.

    Attributes:
        title: what it is.
        recipe: of the training, one of `benchmarks.pinned`.
        change: on top of the recipe.
        arms: which of `ARMS`.
        samplers: further grids at which every model is judged.
        judged_at: the grid that the regime is about; None = the recipe's.
        runs_of: the regime whose trainings it shares.
        starts_from_plain: continue a trained plain model.
        per_class: judge class by class.
    """

    title: str
    recipe: str = f"fashion_mnist_{SIDE}"
    change: dict[str, Any] = dataclasses.field(default_factory=dict)
    arms: tuple[str, ...] = ("plain", "hidden")
    samplers: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    judged_at: str | None = None
    runs_of: str | None = None
    starts_from_plain: bool = False
    per_class: bool = False


REGIMES = {
    "A": Regime("digits", "digits", arms=("plain", "hidden", "sadm")),
    "B": Regime("Fashion-MNIST from scratch", arms=tuple(ARMS), samplers=FEW),
    "C300": Regime("Fashion-MNIST, 300 images", change={"data": {"limit": 300}}),
    "C1000": Regime("Fashion-MNIST, 1,000 images", change={"data": {"limit": 1000}}),
    "D": Regime("Fashion-MNIST, one class at 2 %", change={"data": {"keep": {"Bag": 0.02}}}, per_class=True),
    "E": Regime(
        "continuing a trained plain model",
        change={"optimiser": {"steps": 200, "learning_rate": 1e-3, "warmup_steps": 20}},
        starts_from_plain=True,
    ),
    "F9": Regime("few-step sampling, 9 NFE", judged_at="9 NFE", runs_of="B"),
    "F5": Regime("few-step sampling, 5 NFE", judged_at="5 NFE", runs_of="B"),
}
