"""Which runs a sweep is made of: all settings, or those that successive halving leaves, and how settings are ranked.

Early stop follows Successive Halving (Jamieson & Talwalkar 2016, arXiv 1502.07943, figure 1), with two differences: a setting's
training begins anew at every rung, so that each has a learning-rate schedule of its own length and rungs say what a short
training would; and settings are ranked over all paired seeds at once.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sadm.experiments.plan import RunJob
from sadm.experiments.runs import Runs
from sadm.experiments.statistics import DIVERGED
from sadm.experiments.sweep.config import SweepConfig
from sadm.experiments.yardstick import Yardstick

WORSE = "ranked too low"


@dataclasses.dataclass(frozen=True)
class Rung:
    """All settings that train for one number of steps.

    Attributes:
        share: of the whole budget.
        steps: training steps.
        settings: that take part, in the order of the grid.
        ranked: the same from best to worst; empty before all their runs are finished.
        stopped: those that train no longer, with the reason, from better to worse.
    """

    share: float
    steps: int
    settings: tuple[str, ...]
    ranked: tuple[str, ...] = ()
    stopped: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def jobs(self, seeds: Sequence[int]) -> list[RunJob]:
        """Its runs, seed by seed."""
        return [RunJob(name, seed, self.steps) for seed in seeds for name in self.settings]


def rungs(config: SweepConfig, folder: Path, yardstick: Yardstick | None) -> list[Rung]:
    """The rungs that are known by now: the last one is unfinished, or trains for the whole budget.

    They follow from the configuration and the stored results alone, so that neither an interruption nor the order in which runs
    finish changes who is stopped.

    Args:
        config: the sweep.
        folder: of its results.
        yardstick: None where nothing is stopped early.
    """
    whole, settings = config.train.optimiser.steps, tuple(config.settings)
    found: list[Rung] = []
    for share in config.early_stop:
        rung = Rung(share, max(1, round(share * whole)), settings)
        if not all(job.is_complete(folder, config) for job in rung.jobs(config.seeds)):
            return [*found, rung]
        assert yardstick is not None  # noqa: S101 - the caller has one where there are early stops
        ranked = rank(config, folder, rung, yardstick)
        stopped = _stopped(config, ranked)
        found.append(dataclasses.replace(rung, ranked=tuple(runs.jobs[0].arm for runs in ranked), stopped=stopped))
        settings = tuple(name for name in settings if name not in stopped)
    return [*found, Rung(1.0, whole, settings)]


def rank(config: SweepConfig, folder: Path, rung: Rung, yardstick: Yardstick) -> list[Runs]:
    """The runs of a finished rung from the best setting to the worst; equal ones in the order of the grid."""
    runs = [Runs.read(folder, name, config.seeds, rung.steps) for name in rung.settings]
    return sorted(runs, key=yardstick.score)


def expected_work(config: SweepConfig) -> list[tuple[int, float]]:
    """Rung by rung, how many trainings there are at most, and the share of the whole steps that each takes."""
    count, found = len(config.settings), []
    for share in config.early_stop:
        found.append((count * len(config.seeds), share))
        count = min(count, _kept(config, count) + 1)  # the baseline may be among the worse ones, and stays beside
    return [*found, (count * len(config.seeds), 1.0)]


def _kept(config: SweepConfig, count: int) -> int:
    return max(1, math.ceil(config.keep * count - 1e-9))


def _stopped(config: SweepConfig, ranked: Sequence[Runs]) -> dict[str, str]:
    """Who goes: whatever diverged, and all behind the share that is kept; never the baseline."""
    kept = _kept(config, len(ranked))
    reasons: dict[str, Any] = {}
    for place, runs in enumerate(ranked):
        name = runs.jobs[0].arm
        if name != config.first and (runs.diverged or place >= kept):
            reasons[name] = DIVERGED if runs.diverged else WORSE
    return reasons
