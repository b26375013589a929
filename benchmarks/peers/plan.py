"""What is compared, fixed before the search: contestants, grid, budgets, seeds. Changing a line here makes results void."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from benchmarks.common import RUNS

NAME = "peers"
CONTESTANTS = ("ours_plain", "ours_structure", "ours_unet", "diffusers_unet", "dit_loop", "ddpm_pytorch")
OURS = ("ours_plain", "ours_structure", "ours_unet")
SIZES = ("small", "medium", "large")
LEARNING_RATES = (5e-4, 1.5e-3, 4.5e-3)
"""The same three for everyone, a factor of three apart; the search says where the best lies at the edge."""
MOST_BEYOND = 3
"""How often the search goes on beyond the edge of the learning rates, as long as that is better."""
BUDGETS = (10.0, 30.0)
"""CPU-minutes of training."""
VARIANTS = 14
"""Other choices than size and learning rate that are tried of each contestant that is searched, each alone; then two together."""
LEAST_GAIN = 0.01
"""By how much (mean logarithm) a choice must lower the score to be combined with others."""
FOLLOWS = {"ours_structure": "ours_plain"}
"""Contestants that get what was found for another, which favours the other."""
SEARCH_BUDGET = 3.0
SEARCH_SEED = 0
SAMPLER_BUDGET = 10.0
"""CPU-minutes of the training by which a sampler is chosen: guidance that makes up for three minutes harms after ten."""
REPORT_SEEDS = (100, 101)
MOST_NFE = 50
STORED_SEARCH = "search"
"""Name of the stored search."""
SEARCH_HELD_OUT, REPORT_HELD_OUT = 3000, 6000
"""Held-out images that are divided into thirds: FD is between a third of them and as many generated images."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """Where a study takes place.

    Attributes:
        folder: of its jobs.
        held_out: images to judge with; a third of them is the number generated.
        limit: training images; None = all.
        kept: where in the stored results each finished job's is kept, to be committed until all is there: what takes hours goes
            on elsewhere. Empty = nowhere.
    """

    folder: Path
    held_out: int
    limit: int | None = None
    kept: str = ""

    @property
    def samples(self) -> int:
        """Images that are generated."""
        return self.held_out // 3


SEARCH = Setting(RUNS / NAME / "search", SEARCH_HELD_OUT, kept="jobs")
REPORT = Setting(RUNS / NAME / "report", REPORT_HELD_OUT, kept="report_jobs")


@dataclasses.dataclass(frozen=True)
class Job:
    """One training of one contestant.

    Attributes:
        contestant: one of `CONTESTANTS`.
        size: one of `SIZES`.
        learning_rate: its peak.
        seed: of everything random in it.
        budget: CPU-seconds.
        variants: names of further choices, of the contestant's own.
    """

    contestant: str
    size: str
    learning_rate: float
    seed: int
    budget: float
    variants: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its folder's name."""
        parts = [f"{self.contestant}-{self.size}-lr-{self.learning_rate:g}", *self.variants]
        return "-".join([*parts, f"{self.budget:g}-seconds-seed-{self.seed}"]).replace("_", "-").replace(" ", "-")

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**dataclasses.asdict(self), "variants": list(self.variants)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Job:
        """What `as_dict` gave."""
        return cls(**{**values, "variants": tuple(values["variants"])})


def search_jobs(contestants: tuple[str, ...] | list[str]) -> list[Job]:
    """The whole grid of each contestant, with the search seed and budget."""
    return [
        Job(name, size, rate, SEARCH_SEED, 60 * SEARCH_BUDGET)
        for name in contestants
        for size in SIZES
        for rate in LEARNING_RATES
    ]


def steps_within(budget: float, setup_seconds: float, seconds_per_step: float) -> int:
    """Training steps that a budget pays for.

    Args:
        budget: CPU-seconds.
        setup_seconds: what the method needs before its first step, such as the pre-training of an encoder.
        seconds_per_step: as calibrated.

    Raises:
        UserError: it does not pay for one step, or a number makes no sense.
    """
    from sadm.core.errors import UserError

    if not (math.isfinite(seconds_per_step) and seconds_per_step > 0 and setup_seconds >= 0):
        raise UserError(f"calibration of {setup_seconds} s and {seconds_per_step} s a step makes no sense; repeat it.")
    steps = math.floor((budget - setup_seconds) / seconds_per_step)
    if steps < 1:
        raise UserError(
            f"a budget of {budget:g} CPU-seconds does not pay for {setup_seconds:.1f} s of set-up and one step of "
            f"{seconds_per_step:.2f} s. Give a larger one."
        )
    return steps


def result_name(contestant: str, minutes: float) -> str:
    """The stored result of a contestant at a budget."""
    return f"{contestant}-{minutes:g}-minutes"


def costs_name(minutes: float) -> str:
    """What is stored of the cost of a step of everyone, for a budget."""
    return f"costs-{minutes:g}-minutes"
